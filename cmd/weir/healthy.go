package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type healthCmd struct {
	Config string `placeholder:"FILE" help:"Configuration (YAML), whose metrics.listen is asked."`
	At     string `placeholder:"ADDRESS" help:"Ask this address and port, in place of the configuration's: of weir block 127.0.0.1:9471."`
	Ready  bool   `help:"Ask also whether all that is needed is there and all that is wanted is done (/readyz)."`
}

// Help is the long form of --help.
func (*healthCmd) Help() string {
	return `Asks the weir that runs on this host for /healthz: for a container's health check, where no other program is at hand. Prints 'ok' (exit
code 0), or what stands still (exit code 1). A restart mends what /healthz tells; it mends nothing of what --ready tells.

Examples:
  weir health
  weir health --config /etc/weir/weir.yaml --ready`
}

// healthPatience is for the whole answer.
const healthPatience = 5 * time.Second

// Run asks once.
func (c *healthCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	at, path := settings.Metrics.Listen, "/healthz"
	if c.At != "" {
		at = c.At
	}
	if at == "" {
		return usageError{errors.New("metrics.listen is empty: who is to be asked?")}
	}
	if c.Ready {
		path = "/readyz"
	}
	ctx, stop := context.WithTimeout(ctx, healthPatience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+path, http.NoBody)
	if err != nil {
		return usageError{err}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy of the environment
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; "))
	}
	_, err = std.out.Write(text)
	return err
}
