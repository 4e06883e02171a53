package main

import "weir/sensor/notify"

// noticeMetrics are those of a channel of messages to people. Names of channels are the configuration's.
var noticeMetrics = []family[*notify.ChannelStats]{
	counter("notify_events_total", "What happened to alerts and drops that a channel is told of.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(c.Events, c.Name)
	}),
	counter("notify_messages_total", "Messages to a channel that were delivered, or refused and set aside.", "channel outcome", func(c *notify.ChannelStats, put put) {
		put.count(c.Delivered, c.Name, "delivered")
		put.count(c.Refused, c.Name, "refused")
	}),
	counter("notify_failures_total", "Attempts to deliver a message that failed.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(c.Failed, c.Name)
	}),
	gauge("notify_waiting_messages", "Messages that are not delivered yet.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(uint64(c.Waiting), c.Name)
	}),
	gauge("notify_waiting_bytes", "Size of the messages that are not delivered yet.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(uint64(c.Bytes), c.Name)
	}),
	gauge("notify_waiting_events", "Events that are in no message yet.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(c.Pending, c.Name)
	}),
	counter("notify_disk_errors_total", "Writes of the queue of messages that failed; it is in memory meanwhile.", "channel", func(c *notify.ChannelStats, put put) {
		put.count(c.Disk, c.Name)
	}),
}

// noticesMetrics are those of all channels together.
var noticesMetrics = []family[*noticed]{
	counter("notify_missed_total", "Events that no channel was told of, because they came faster than they were taken.", "", func(n *noticed, put put) {
		put.count(n.Missed)
	}),
}
