package decode

// Decoder decodes frames. It holds only the hash seed: safe for concurrent use.
type Decoder struct{ seed uint64 }

// NewDecoder returns a decoder whose Packet.Hash is keyed by seed: fixed in replays, secret and random live.
func NewDecoder(seed uint64) *Decoder { return &Decoder{seed: seed} }
