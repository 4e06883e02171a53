package hunt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Names that fields of JSON access logs go by: nginx's variables, Tomcat's JsonAccessLogValve, Caddy, Traefik, Elastic's.
var jsonNames = map[string]string{
	"time": "time", "timestamp": "time", "@timestamp": "time", "ts": "time", "time_local": "time", "time_iso8601": "time", "msec": "time", "startutc": "time",
	"host": "host", "client": "client", "clientip": "client", "client_ip": "client", "clienthost": "client", "remoteaddr": "client", "remote_addr": "client",
	"remote_ip": "client", "remote_host": "client", "remotehost": "client", "source.ip": "client",
	"request": "request", "method": "method", "request_method": "method", "requestmethod": "method", "http_method": "method",
	"path": "target", "uri": "target", "url": "target", "request_uri": "target", "requestpath": "target", "query": "query", "args": "query", "query_string": "query",
	"status": "status", "status_code": "status", "statuscode": "status", "downstreamstatus": "status", "response_code": "status",
	"bytes": "bytes", "size": "bytes", "bytes_sent": "bytes", "body_bytes_sent": "bytes", "downstreamcontentsize": "bytes", "response_size": "bytes",
	"user_agent": "agent", "http_user_agent": "agent", "useragent": "agent", "agent": "agent", "user-agent": "agent",
	"referer": "referer", "http_referer": "referer", "referrer": "referer", "user": "user", "remote_user": "user",
	"request_time": "seconds", "duration": "seconds", "elapsedtime": "ms", "duration_ms": "ms", "response_time_ms": "ms",
}

// ParseAccessJSON reads a line of an access log in JSON. Field names are those of jsonNames; objects are looked into one level deep (Caddy's
// request, Tomcat's requestHeaders). host is the client only where nothing else is:
// for some it is the server. Of two fields of one meaning the first by name counts.
func ParseAccessJSON(line []byte) (*Access, error) {
	var all map[string]any
	if err := json.Unmarshal(line, &all); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	found := map[string]string{}
	names := map[string]string{}
	var take func(key string, v any, depth int)
	take = func(key string, v any, depth int) {
		if inner, is := v.(map[string]any); is && depth < 2 {
			for k, v := range inner {
				take(k, v, depth+1)
			}
			return
		}
		if list, is := v.([]any); is && len(list) > 0 {
			v = list[0]
		}
		meaning := jsonNames[strings.ToLower(key)]
		if meaning == "" {
			return
		}
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case float64:
			text = strings.TrimSuffix(fmt.Sprintf("%.6f", v), ".000000")
		default:
			return
		}
		name := fmt.Sprint(depth, key)
		if old, is := names[meaning]; !is || name < old {
			names[meaning], found[meaning] = name, text
		}
	}
	for k, v := range all {
		take(k, v, 0)
	}
	return accessOf(found)
}

func accessOf(found map[string]string) (a *Access, err error) {
	a = &Access{Ms: -1, Client: cmp.Or(found["client"], found["host"]), Agent: found["agent"], Referer: found["referer"], User: found["user"]}
	if s, is := found["request"]; is {
		a.request(s)
	}
	if s, is := found["method"]; is {
		a.Method = s
	}
	if s, is := found["target"]; is {
		a.target(s)
	}
	if s, is := found["query"]; is && a.Query == "" {
		a.Query = strings.TrimPrefix(s, "?")
	}
	for _, one := range []struct {
		part part
		name string
	}{{part{code: 's'}, "status"}, {part{code: 'b'}, "bytes"}, {part{code: 't'}, "time"}, {part{code: 'T'}, "seconds"}, {part{code: 'D'}, "ms"}} {
		if s, is := found[one.name]; is {
			if err := a.set(one.part, s, false); err != nil {
				return nil, err
			}
		}
	}
	return a, a.check()
}
