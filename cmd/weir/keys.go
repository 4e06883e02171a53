package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"weir/sensor/bus"
)

type keysCmd struct {
	New   keysNewCmd   `cmd:"" help:"Make the own key of a state folder."`
	Trust keysTrustCmd `cmd:"" help:"Let the signatures of another machine's key count, or no more."`
	List  keysListCmd  `cmd:"" help:"List the keys whose signatures count."`
}

// Help is the long form of --help.
func (*keysCmd) Help() string {
	return `Drops and commands are signed. 'weir run', 'weir sense' and this command make a key of their own in the state folder; a gate on
another machine ('weir block') believes nobody until it is told whom. docs/bans.md shows which machine needs whose key.`
}

type keysNewCmd struct {
	State string `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder (default: ${default})."`
	Force bool   `help:"Replace the key that there is. Who trusts it must be told the new one."`
}

// Run makes a key.
func (c *keysNewCmd) Run(std *streams) error {
	keys, err := openKeys(c.State)
	if err != nil {
		return err
	}
	if own := keys.Own(); own != "" && !c.Force {
		return fmt.Errorf("%s has a key already, %s; --force replaces it", filepath.Join(c.State, keysFolder), own)
	}
	public, err := keys.New()
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "weir: the key is in %s. Machines that are to believe this one need:\n  weir keys trust %s --name %s\n",
		printable(filepath.Join(c.State, keysFolder)), public, printable(thisHost()))
	_, err = fmt.Fprintln(std.out, public)
	return err
}

type keysTrustCmd struct {
	Public string `arg:"" name:"public" help:"Public key (U…), as 'weir keys new' and 'weir keys list' print it."`
	Name   string `placeholder:"NAME" help:"Whose it is, for lists and logs."`
	State  string `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder (default: ${default})."`
	Remove bool   `help:"Do not trust it any more."`
}

// Run changes the list of trusted keys. Running processes read it again.
func (c *keysTrustCmd) Run(std *streams) error {
	if c.Remove && c.Name != "" {
		return usageError{errors.New("--remove and --name exclude each other")}
	}
	if !c.Remove && c.Name == "" {
		return usageError{errors.New("--name: whose key is it? As in: weir keys trust U… --name sensor1")}
	}
	keys, err := openKeys(c.State)
	if err != nil {
		return err
	}
	if c.Remove {
		if c.Public == keys.Own() {
			return usageError{errors.New("this is the own key of the state folder, which is always trusted; 'weir keys new --force' replaces it")}
		}
		if _, known := keys.Trusted(c.Public); !known {
			return fmt.Errorf("%s is not trusted here", c.Public)
		}
		if err := keys.Distrust(c.Public); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "weir: %s is not trusted any more; its drops are refused from now on\n", printable(c.Public))
		return nil
	}
	if err := keys.Trust(c.Public, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(std.err, "weir: %s is trusted\n", printable(c.Public))
	return nil
}

type keysListCmd struct {
	State  string `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder (default: ${default})."`
	Format string `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl, or auto: a table on a terminal, jsonl otherwise."`
}

// Run lists keys, the own one first.
func (c *keysListCmd) Run(std *streams) error {
	keys, err := openKeys(c.State)
	if err != nil {
		return err
	}
	return errors.Join(c.list(std.out, keys.List()), keys.Err())
}

func (c *keysListCmd) list(out io.Writer, all []bus.TrustedKey) error {
	if c.Format == "table" || c.Format == "auto" && isTerminal(out) {
		w := tabwriter.NewWriter(out, 0, 0, tableGap, ' ', 0)
		fmt.Fprintln(w, "PUBLIC KEY\tNAME")
		for _, k := range all {
			fmt.Fprintf(w, "%s\t%s\n", k.Public, printable(k.Name))
		}
		return w.Flush()
	}
	for _, k := range all {
		line, err := marshal(struct {
			Public string `json:"public"`
			Name   string `json:"name"`
			Own    bool   `json:"own"`
		}{k.Public, k.Name, k.Own})
		if err != nil {
			return err
		}
		if err := writeLine(out, line); err != nil {
			return err
		}
	}
	return nil
}

// openKeys opens the keys of a state folder, and makes none.
func openKeys(state string) (*bus.Keys, error) {
	return bus.OpenKeys(filepath.Join(state, keysFolder), false)
}
