package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/sensor/notify"
)

type notifyCmd struct {
	Test notifyTestCmd `cmd:"" help:"Send a test message to each channel, and say what came back."`
}

// Help is the long form of --help.
func (*notifyCmd) Help() string {
	return `A sensor ('weir sense', 'weir run') tells people what it finds by the channels of its configuration (section notify): Slack, or any
webhook. A flood of alerts is a few messages. docs/notify.md shows how to set a channel up, and what a receiver checks.`
}

type notifyTestCmd struct {
	Channel []string `placeholder:"NAME" help:"Only this channel. Repeatable."`
	Config  string   `placeholder:"FILE" default:"/etc/weir/weir.yaml" help:"Configuration (YAML); default: ${default}."`
}

// Help is the long form of --help.
func (*notifyTestCmd) Help() string {
	return `Sends one message that says that it is a test to each channel of the configuration, at once and once: no queue, no second attempt. A
line a channel tells what came back; the exit code is 1 if one of them failed. No running sensor is needed or disturbed. Run it as the
user that the sensor runs as: it reads the same files (url_file, secret_file) and environment (HTTPS_PROXY, SSL_CERT_FILE).

Set up Slack:
  1. https://api.slack.com/apps, "Create New App", "From scratch", then "Incoming Webhooks", on, "Add New Webhook"
  2. sudo install -m 0600 -o weir /dev/stdin /etc/weir/slack.url    and paste the URL, then Ctrl-D
  3. notify: {channels: [{name: ops, type: slack, url_file: /etc/weir/slack.url}]}    in /etc/weir/weir.yaml

Examples:
  weir notify test
  weir notify test --channel ops --config new.yaml

What an answer means:
  403, 404, 410   the URL is wrong or was withdrawn: make a new one
  429             too many messages; a sensor waits as long as it is told to
  x509: …         the certificate is not trusted here: SSL_CERT_FILE names a file of those that are`
}

// Run tries the channels.
func (c *notifyTestCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	channels, err := c.channels(settings.Notify.Channels)
	if err != nil {
		return err
	}
	options := notify.Options{Site: settings.Site, Sensor: settings.sensorName(), Version: version}
	failed := 0
	for i := range channels {
		one := &channels[i]
		begin := time.Now()
		answer, err := notify.Try(ctx, one, settings.Notify.Timeout, options)
		if err != nil {
			failed++
			fmt.Fprintf(std.out, "%s (%s): failed: %s\n", one.Name, one.Type, printable(err.Error()))
			continue
		}
		fmt.Fprintf(std.out, "%s (%s): delivered in %v: %s\n", one.Name, one.Type, time.Since(begin).Round(time.Millisecond), printable(answer))
	}
	if failed > 0 {
		return reported{fmt.Errorf("%d of %d channels failed", failed, len(channels))}
	}
	return nil
}

// channels are those that are meant.
func (c *notifyTestCmd) channels(all []notify.Channel) ([]notify.Channel, error) {
	if len(all) == 0 {
		return nil, usageError{fmt.Errorf("%s has no channel: 'weir notify test --help' shows how to set one up", c.Config)}
	}
	var names []string
	for i := range all {
		names = append(names, all[i].Name)
	}
	for _, name := range c.Channel {
		if !slices.Contains(names, name) {
			return nil, usageError{fmt.Errorf("--channel: there is no %q; there are %s", name, strings.Join(names, ", "))}
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(one notify.Channel) bool { return len(c.Channel) > 0 && !slices.Contains(c.Channel, one.Name) }), nil
}
