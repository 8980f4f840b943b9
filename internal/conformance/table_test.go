package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// row is one test. It stands for a statement of each version whose column is
// filled; several, with a blank in between, are tested by the same steps.
type row struct {
	v31, v311, v5 string
	rule          string // of testdata/rules.tsv: for 3.1.1 and 5.0
	only5         bool   // the rule is one of MQTT 5
	name          string // when several rows stand for one statement
	where         place
	set           func(*session.Settings) // settings of a broker of its own, in virtual time
	run           func(*env)
}

// tables are all tests, by chapter.
var tables = [][]row{
	formatRows, connectRows, willRows, flowRows, publishRows, subscribeRows, qosRows, topicRows, shareRows, endRows, authRows, wsRows,
}

// suite is a list of statements with the version of its tests.
type suite struct {
	test    string // function name
	file    string // in testdata
	title   string
	version byte
	column  func(*row) string
}

var suites = []suite{
	{test: "TestV5", file: "statements-v5.tsv", title: "MQTT 5.0", version: packet.V5, column: func(r *row) string { return r.v5 }},
	{test: "TestV311", file: "statements-v311.tsv", title: "MQTT 3.1.1", version: packet.V311, column: func(r *row) string { return r.v311 }},
	{test: "TestV31", file: "statements-v31.tsv", title: "MQTT 3.1 and bridges", version: packet.V31, column: func(r *row) string { return r.v31 }},
	{test: "TestBehaviour", file: "rules.tsv", title: "Behaviours that suites of others check", column: func(r *row) string { return r.rule }},
}

func TestV5(t *testing.T)   { suites[0].run(t) }
func TestV311(t *testing.T) { suites[1].run(t) }
func TestV31(t *testing.T)  { suites[2].run(t) }

// rows returns the tests of each statement, and the statements in the order of
// the tables.
func (s *suite) rows() (order []string, of map[string][]*row) {
	of = map[string][]*row{}
	for _, table := range tables {
		for i := range table {
			for id := range strings.FieldsSeq(s.column(&table[i])) {
				if of[id] == nil {
					order = append(order, id)
				}
				of[id] = append(of[id], &table[i])
			}
		}
	}
	return order, of
}

// TestBehaviour runs the rules, for both versions where they hold in both.
func TestBehaviour(t *testing.T) { suites[3].run(t) }

// names of the versions in tests.
var versionNames = map[byte]string{packet.V31: "v31", packet.V311: "v311", packet.V5: "v5"}

func (s *suite) run(t *testing.T) {
	order, of := s.rows()
	for _, id := range order {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			rows := of[id]
			if len(rows) == 1 && rows[0].name == "" {
				s.one(t, rows[0])
				return
			}
			names := map[string]bool{}
			for i, r := range rows {
				name := r.name
				if name == "" {
					name = fmt.Sprintf("case %d", i+1)
				}
				if names[name] {
					t.Errorf("two cases are named %q", name)
				}
				names[name] = true
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s.one(t, r)
				})
			}
		})
	}
}

// one runs a test for the version of the suite, or for all of its own.
func (s *suite) one(t *testing.T, r *row) {
	if s.version != 0 {
		r.where.run(t, s.version, r.set, r.run)
		return
	}
	for _, v := range []byte{packet.V311, packet.V5} {
		if r.only5 && v != packet.V5 {
			continue
		}
		t.Run(versionNames[v], func(t *testing.T) {
			t.Parallel()
			r.where.run(t, v, r.set, r.run)
		})
	}
}
