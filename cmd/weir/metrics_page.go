package main

import "weir/sensor/web"

var pageMetrics = []family[*web.Stats]{
	gauge("page_streams", "Pages and programs that follow the events of the live page.", "", func(s *web.Stats, put put) { put(float64(s.Streams)) }),
	counter("page_lost_total", "Alerts that came faster than the page takes them, or were none; and streams whose reader was too slow.", "what", func(s *web.Stats, put put) {
		put.count(s.Lost, "alerts")
		put.count(s.Slow, "streams")
	}),
	counter("page_refused_total", "Requests to the page that were refused because of who asked.", "reason", func(s *web.Stats, put put) {
		for r, n := range s.Refused {
			put.count(n, web.Reason(r).String())
		}
	}),
}
