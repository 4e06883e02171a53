package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsd PORT FOLDER is a NATS server with JetStream on 127.0.0.1 (TestMain makes it a command), until SIGTERM.
func natsd() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: os.Args[2], JetStreamMaxStore: 64 << 30, NoSigs: true, SyncAlways: true,
	})
	if err != nil {
		panic(err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("not ready")
	}
	fmt.Println("ready")
	<-end
	s.Shutdown()
	s.WaitForShutdown()
}
