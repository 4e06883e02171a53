package bus

import (
	"context"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
)

const gateQueue = 256

// Gates calls each with the gate reports of the site, of all its sensors, until ctx ends or the bus is closed; it blocks.
// What comes while the connection is lost, or faster than each takes it, is lost and counted.
func (b *Bus) Gates(ctx context.Context, each func(sensor string, payload []byte)) {
	l := b.link
	ctx, end := l.bound(ctx)
	defer end()
	if l.exists(ctx) != nil {
		return
	}
	reports := make(chan *nats.Msg, gateQueue)
	sub, err := l.nc.ChanSubscribe(names{l.names.site, "*"}.subject(Gate.String()), reports)
	if err != nil {
		l.log.Log(ctx, slog.LevelError, "NATS: reports of gates cannot be read", "err", err)
		return
	}
	defer l.unsubscribe(sub, &l.counts.reportsUnheard)
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-reports:
			token := strings.Split(m.Subject, ".")[3]
			if sensor, err := ParseToken(token); err == nil {
				each(sensor, m.Data)
			}
		}
	}
}
