package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// samples returns one command of every kind.
func samples() map[string]*metapb.Command {
	e := &metapb.Epoch{Cluster: 7, Generation: 1, Index: 9}
	sub := &metapb.Subscription{Filter: "a/#", Qos: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, Identifier: 3}
	msg := (&message.Message{Topic: "t", Payload: []byte("p"), Retain: true, QoS: 1}).AppendBinary(nil)
	member := &metapb.Member{Id: 1, Name: "a", Address: "h:1", Version: "v", Incarnation: 2, Up: true, JoinedAt: 3}
	src := &metapb.Source{Node: 1, Epoch: e}
	session := &metapb.Session{
		Mountpoint: "m", Client: "c", Owner: 1, Incarnation: 2, Epoch: e, Sources: []*metapb.Source{src}, Durable: true, Expiry: 4,
		ConnectedAt: 5, OfflineSince: 6, UpperHalf: true, Stamp: 7, StampNode: 8, Wiped: 9, OverlayIndex: 10, Present: true, Previous: 11,
	}
	out := map[string]*metapb.Command{
		"bootstrap":       {Op: &metapb.Command_Bootstrap{Bootstrap: &metapb.Bootstrap{Cluster: 7, Member: member}}},
		"put-member":      {Op: &metapb.Command_PutMember{PutMember: &metapb.PutMember{Member: member}}},
		"drop-member":     {Op: &metapb.Command_DropMember{DropMember: &metapb.DropMember{Id: 1}}},
		"node-up":         {Op: &metapb.Command_NodeUp{NodeUp: &metapb.NodeUp{Node: 1, Incarnation: 2}}},
		"node-down":       {Op: &metapb.Command_NodeDown{NodeDown: &metapb.NodeDown{Node: 1, Incarnation: 2}}},
		"register":        {Op: &metapb.Command_Register{Register: &metapb.Register{Mountpoint: "m", Client: "c", CleanStart: true, Durable: true, Expiry: 4}}},
		"release":         {Op: &metapb.Command_Release{Release: &metapb.Release{Mountpoint: "m", Client: "c", Epoch: e, Durable: true, Expiry: 4, At: 5}}},
		"delete-session":  {Op: &metapb.Command_DeleteSession{DeleteSession: &metapb.DeleteSession{Mountpoint: "m", Client: "c", Epoch: e}}},
		"subscribe":       {Op: &metapb.Command_Subscribe{Subscribe: &metapb.Subscribe{Mountpoint: "m", Client: "c", Epoch: e, Subscriptions: []*metapb.Subscription{sub}}}},
		"unsubscribe":     {Op: &metapb.Command_Unsubscribe{Unsubscribe: &metapb.Unsubscribe{Mountpoint: "m", Client: "c", Epoch: e, Filters: []string{"a/#"}}}},
		"set-route":       {Op: &metapb.Command_SetRoute{SetRoute: &metapb.SetRoute{Mountpoint: "m", Filter: "f"}}},
		"clear-route":     {Op: &metapb.Command_ClearRoute{ClearRoute: &metapb.ClearRoute{Mountpoint: "m", Filter: "f"}}},
		"join-shared":     {Op: &metapb.Command_JoinShared{JoinShared: &metapb.JoinShared{Mountpoint: "m", Client: "c", Epoch: e, Subscription: sub}}},
		"leave-shared":    {Op: &metapb.Command_LeaveShared{LeaveShared: &metapb.LeaveShared{Mountpoint: "m", Client: "c", Filter: "f"}}},
		"set-retained":    {Op: &metapb.Command_SetRetained{SetRetained: &metapb.SetRetained{Message: msg}}},
		"delete-retained": {Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{Mountpoint: "m", Topic: "t"}}},
		"strike-source":   {Op: &metapb.Command_StrikeSource{StrikeSource: &metapb.StrikeSource{Mountpoint: "m", Client: "c", Source: src}}},
		"set-half":        {Op: &metapb.Command_SetHalf{SetHalf: &metapb.SetHalf{Mountpoint: "m", Client: "c", Epoch: e, Upper: true}}},
		"import-session":  {Op: &metapb.Command_ImportSession{ImportSession: &metapb.ImportSession{Session: session, Subscriptions: []*metapb.Subscription{sub}}}},
		"import-retained": {Op: &metapb.Command_ImportRetained{ImportRetained: &metapb.ImportRetained{Message: msg}}},
		"put-key":         {Op: &metapb.Command_PutKey{PutKey: &metapb.PutKey{Key: &metapb.Key{Hash: make([]byte, 32), Scope: "s", Role: "r", Expires: 1, Created: 2, CreatedBy: "b"}}}},
		"drop-key":        {Op: &metapb.Command_DropKey{DropKey: &metapb.DropKey{Hash: make([]byte, 32), Scope: "s"}}},
		"trim-tombstones": {Op: &metapb.Command_TrimTombstones{TrimTombstones: &metapb.TrimTombstones{Index: 9}}},
	}
	for _, c := range out {
		c.Origin, c.Incarnation, c.Sequence, c.Stamp, c.Wall, c.Overlay = 1, 2, 3, 4<<16, 5, true
	}
	return out
}

func TestCommandsAreGolden(t *testing.T) {
	all := samples()
	if n := (&metapb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields().Len(); n != len(all) {
		t.Errorf("%d kinds of commands, %d samples", n, len(all))
	}
	for name, c := range all {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "command-v1-"+name+".hex")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(hex.EncodeToString(encodeEntry([][]byte{raw}))+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntry(b)
		if err != nil || len(got) != 1 || !proto.Equal(got[0], c) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range samples() {
		raw, _ := proto.Marshal(c)
		f.Add(encodeEntry([][]byte{raw}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		commands, err := decodeEntry(b)
		if err != nil {
			return
		}
		s, index := twoMembers(t, newMaker())
		s.detached = true
		for _, c := range commands {
			if _, err := s.apply(index, c); err != nil {
				t.Fatal(err)
			}
		}
		reload(t, s)
	})
}

func FuzzReadSnapshot(f *testing.F) {
	m := newMaker()
	s, index := twoMembers(f, m)
	r, _ := s.apply(index, m.from(1, registerCmd("c", false, true)))
	_, _ = s.apply(index+1, m.from(1, subscribeCmd("c", r.reg.Epoch, "$share/g/f", 1)))
	_, _ = s.apply(index+2, m.from(1, retainedCmd("t", "p")))
	var b bytes.Buffer
	if err := s.writeSnapshot(&b, func(int) error { return nil }); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readSnapshot(bytes.NewReader(b)); err == nil {
			reload(t, s)
		}
	})
}

func FuzzDecodeJournal(f *testing.F) {
	path := filepath.Join(f.TempDir(), "j")
	j, _, err := openJournal(vfs.Default, path)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(j.append([]*metapb.Command{registerCmd("c", false, true), retainedCmd("t", "p")}), j.close()); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		commands, good, err := decodeJournal(b)
		if err != nil {
			return
		}
		if good > len(b) {
			t.Fatalf("%d commands in %d bytes of %d", len(commands), good, len(b))
		}
		// What is good is good without the torn end, too.
		again, all, err := decodeJournal(b[:good])
		if err != nil || all != good || len(again) != len(commands) {
			t.Fatalf("%d commands in %d bytes, without what follows %d in %d: %v", len(commands), good, len(again), all, err)
		}
	})
}

func TestJournalLosesOnlyItsTornEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, got, err := openJournal(vfs.Default, path)
	if err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
	for range 3 {
		if err := j.append([]*metapb.Command{registerCmd("c", false, true)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(j.close(), os.Truncate(path, j.size-1)); err != nil {
		t.Fatal(err)
	}
	j, got, err = openJournal(vfs.Default, path)
	if err != nil || len(got) != 2 {
		t.Fatal(len(got), err)
	}
	if err := errors.Join(j.append([]*metapb.Command{retainedCmd("t", "p")}), j.close()); err != nil {
		t.Fatal(err)
	}
	j, got, err = openJournal(vfs.Default, path)
	if err != nil || len(got) != 3 || got[2].GetSetRetained() == nil {
		t.Fatal(len(got), err)
	}
	if err := errors.Join(j.clear(), j.close()); err != nil {
		t.Fatal(err)
	}
}
