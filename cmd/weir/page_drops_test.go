package main

import (
	"context"
	"net"
	"testing"
	"time"

	"weir/sensor/web"
)

// TestPageDropsDial has a NATS server that takes connections and says nothing: while it is dialed, nobody waits for it.
func TestPageDropsDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	settings := defaults()
	settings.NATS.Servers = []string{"nats://" + l.Addr().String()}
	d := newPageDrops(&pageOf{settings: settings})
	ctx, stop := context.WithCancel(t.Context())
	dialed := make(chan error, 1)
	go func() {
		_, err := d.dial(ctx)
		dialed <- err
	}()
	c, err := l.Accept() // the dial is on
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		d.forget()
		if c, err := d.site(); c != nil || err == nil {
			t.Errorf("a connection: %v, %v", c, err)
		}
		_, forgot := d.recent()
		d.keep(&web.DropList{}, forgot)
	}()
	select {
	case <-passed:
	case err := <-dialed:
		t.Fatalf("the dial ended: %v", err)
	case <-time.After(time.Second): // a dial takes longer
		t.Error("others wait for the dial")
	}
	stop()
	if c.Close(); <-dialed == nil {
		t.Error("it is connected to nothing")
	}
	<-passed
}
