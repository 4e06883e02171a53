package host

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// States of the process, for Notify (sd_notify(3)).
const (
	Ready     = daemon.SdNotifyReady // also: reloading is over
	Reloading = daemon.SdNotifyReloading
	Stopping  = daemon.SdNotifyStopping
)

// Notify tells the service manager of a new state: Ready, Reloading or Stopping, with more lines ("STATUS=…") if wanted.
// Without NOTIFY_SOCKET in the environment nobody asked, and nothing is done.
func Notify(state string) error {
	if state == Reloading {
		state += "\n" + daemon.SdNotifyMonotonicUsec() // Type=notify-reload wants the time
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("telling the service manager %q: %w", state, err)
	}
	return nil
}

// Watchdog tells the service manager, twice in each interval that it asked for (WATCHDOG_USEC), that the process is alive,
// while alive says so; otherwise it is silent, and the service manager restarts the process. It returns when ctx ends, at
// once where nobody asked, and an error where the request makes no sense. alive must not block.
func Watchdog(ctx context.Context, alive func() bool) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return err
	}
	tick := time.NewTicker(max(interval/2, time.Millisecond))
	defer tick.Stop()
	for {
		if alive() {
			_ = Notify(daemon.SdNotifyWatchdog) // lost words are the service manager's to judge
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
