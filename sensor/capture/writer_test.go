package capture

import (
	"bytes"
	"os/exec"
	"testing"

	"weir/decode"
)

func TestWriter(t *testing.T) {
	want := sample(300)
	for i := range want {
		want[i].Time += int64(i) // ns
		if i%3 == 1 {
			want[i].Link, want[i].Iface = decode.LinkRaw, 1
		}
		if i%50 == 49 {
			want[i].Link, want[i].Iface = decode.LinkLinuxSLL, 2 // not announced
		}
	}
	var out bytes.Buffer
	w := NewWriter(&out, decode.LinkEthernet, decode.LinkRaw)
	for i := range want {
		if err := w.Write(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := twin(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "gopacket", got, want)
	if got, err = all(t, open(t, save(t, "in", out.Bytes()), Options{})); err != nil {
		t.Fatal(err)
	}
	compare(t, "our own", got, want)
}

func TestWriterAgreesWithTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		leaveOut(t, "not compared: tcpdump is not installed")
	}
	want := sample(300)
	var out bytes.Buffer
	w := NewWriter(&out, decode.LinkEthernet)
	for i := range want {
		want[i].Time += int64(i)
		if err := w.Write(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tcpdump, "--nano", "-r", "-", "-w", "-")
	cmd.Stdin = &out
	copied, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := twin(copied)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "tcpdump", got, want)
}

func TestWriterPutsTagsBack(t *testing.T) {
	f := sample(1)[0]
	f.Data = append([]byte("dddddd"+"ssssss"), 8, 0, 1, 2, 3)
	f.WireLen = 100
	f.Tags = [2]decode.Tag{{TPID: 0x88a8, TCI: 5}, {TPID: 0x8100, TCI: 0x2006}}
	var out bytes.Buffer
	w := NewWriter(&out)
	if err := w.Write(&f); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := twin(out.Bytes())
	want := append([]byte("dddddd"+"ssssss"), 0x88, 0xa8, 0, 5, 0x81, 0, 0x20, 6, 8, 0, 1, 2, 3)
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, want) || got[0].WireLen != 108 {
		t.Errorf("got %+v, error %v", got, err)
	}
}
