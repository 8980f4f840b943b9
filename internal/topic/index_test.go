package topic

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// genName draws names over few levels, so that they collide.
func genName() *rapid.Generator[string] {
	level := rapid.SampledFrom([]string{"", "a", "b", "c", "$x", "longer level"})
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(level, 1, 5).Draw(t, "levels"), "/")
	}).Filter(func(s string) bool { return s != "" })
}

func genFilter() *rapid.Generator[string] {
	level := rapid.SampledFrom([]string{"", "a", "b", "c", "$x", "+", "+", "#", "longer level"})
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(level, 1, 5).Draw(t, "levels"), "/")
	}).Filter(func(s string) bool { return ValidateFilter(s, 0) == nil })
}

type key struct {
	Filter string
	K      int
}

func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, model := NewIndex[int, int](), map[key]int{}
		count := func(filter string) (n int) {
			for k := range model {
				if k.Filter == filter {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				f, k, v := genFilter().Draw(t, "f"), rapid.IntRange(0, 40).Draw(t, "k"), rapid.Int().Draw(t, "v")
				want := count(f) == 0
				if first := x.Set(f, k, v); first != want {
					t.Fatalf("Set(%q): first %v", f, first)
				}
				model[key{f, k}] = v
			},
			"delete": func(t *rapid.T) {
				f, k := genFilter().Draw(t, "f"), rapid.IntRange(0, 40).Draw(t, "k")
				if len(model) > 0 && rapid.Bool().Draw(t, "present") {
					for m := range model {
						f, k = m.Filter, m.K
						break
					}
				}
				_, had := model[key{f, k}]
				delete(model, key{f, k})
				existed, last := x.Delete(f, k)
				if existed != had || last != (had && count(f) == 0) {
					t.Fatalf("Delete(%q, %d) = %v, %v", f, k, existed, last)
				}
			},
			"": func(t *rapid.T) { checkIndex(t, x, model, genName().Draw(t, "name")) },
		})
	})
}

func checkIndex(t *rapid.T, x *Index[int, int], model map[key]int, name string) {
	want, got := map[int]int{}, map[int]int{} // value → hits
	filters, all := map[string]bool{}, map[key]int{}
	for k, v := range model {
		filters[k.Filter] = true
		if naiveMatch(k.Filter, name) {
			want[v]++
		}
		if g, ok := x.Get(k.Filter, k.K); !ok || g != v {
			t.Fatalf("Get(%q, %d) = %d, %v", k.Filter, k.K, g, ok)
		}
	}
	x.Match(name, func(_, v int) { got[v]++ })
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("Match(%q): %s", name, d)
	}
	x.Each(func(f string, k, v int) bool { all[key{f, k}] = v; return true })
	if !maps.Equal(all, model) || x.Len() != len(filters) || x.Entries() != len(model) {
		t.Fatalf("Each: %v, Len %d, Entries %d, want %v", all, x.Len(), x.Entries(), model)
	}
}

func TestStoreModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := NewStore[int](), map[string]int{}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n, v := genName().Draw(t, "n"), rapid.Int().Draw(t, "v")
				_, had := model[n]
				if s.Set(n, v) == had {
					t.Fatalf("Set(%q): added %v", n, !had)
				}
				model[n] = v
			},
			"delete": func(t *rapid.T) {
				n := genName().Draw(t, "n")
				_, had := model[n]
				delete(model, n)
				if s.Delete(n) != had {
					t.Fatalf("Delete(%q) = %v", n, !had)
				}
			},
			"": func(t *rapid.T) {
				f := genFilter().Draw(t, "f")
				want, got, all := map[string]int{}, map[string]int{}, map[string]int{}
				for n, v := range model {
					if naiveMatch(f, n) {
						want[n] = v
					}
					if g, ok := s.Get(n); !ok || g != v {
						t.Fatalf("Get(%q) = %d, %v", n, g, ok)
					}
				}
				s.MatchFilter(f, func(n string, v int) bool { got[n] = v; return true })
				s.Each(func(n string, v int) bool { all[n] = v; return true })
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("MatchFilter(%q): %s", f, d)
				}
				if !maps.Equal(all, model) || s.Len() != len(model) {
					t.Fatalf("Each: %v, want %v", all, model)
				}
			},
		})
	})
}

// TestDeleteLeavesNothing: a client that subscribes and leaves costs nothing
// afterwards.
func TestDeleteLeavesNothing(t *testing.T) {
	x, s := NewIndex[int, int](), NewStore[int]()
	var filters, names []string
	for i := range 3000 {
		filters = append(filters, fmt.Sprintf("a/%d/+/%d", i%70, i), fmt.Sprintf("+/%d/#", i), fmt.Sprintf("b/%d", i))
		names = append(names, fmt.Sprintf("a/%d/x/%d", i%70, i))
	}
	for i, f := range filters {
		x.Set(f, i, i)
	}
	for i, n := range names {
		s.Set(n, i)
	}
	for i, f := range filters {
		x.Delete(f, i)
	}
	for _, n := range names {
		s.Delete(n)
	}
	if x.Len() != 0 || x.Entries() != 0 || s.Len() != 0 {
		t.Fatalf("left: %d filters, %d entries, %d names", x.Len(), x.Entries(), s.Len())
	}
	for i := range x.wild {
		if r := &x.wild[i].root; r.degree() != 0 || r.kids.many != nil {
			t.Fatalf("part %d still has nodes", i)
		}
	}
	for i := range s.parts {
		if s.parts[i].root.degree() != 0 {
			t.Fatalf("store part %d still has nodes", i)
		}
	}
}

// TestLargeEntry: one filter with many subscribers finds each of them, and
// shrinks again.
func TestLargeEntry(t *testing.T) {
	x := NewIndex[int, int]()
	for i := range 2000 {
		x.Set("a/+", i, i)
	}
	for i := range 1990 {
		if existed, last := x.Delete("a/+", i); !existed || last {
			t.Fatalf("Delete(%d) = %v, %v", i, existed, last)
		}
	}
	sum := 0
	x.Match("a/b", func(_, v int) { sum += v })
	if sum != 19945 {
		t.Fatalf("sum of the ten left is %d", sum)
	}
	if c := cap(x.wildShard("a").root.lookup("a/+").pairs); c > 200 {
		t.Fatalf("ten pairs in a slice of %d", c)
	}
}

// TestLinearCost: 65,535 slashes cost mochi 13 CPU seconds (mochi.md 8).
func TestLinearCost(t *testing.T) {
	x, s := NewIndex[int, int](), NewStore[int]()
	deep := strings.Repeat("/", MaxLength)
	plus := strings.Repeat("+/", MaxLength/2) + "#"
	start := time.Now()
	x.Set(deep, 1, 1)
	x.Set(plus, 1, 1)
	s.Set(deep, 1)
	hits := 0
	x.Match(deep, func(int, int) { hits++ })
	s.MatchFilter(plus, func(string, int) bool { hits++; return true })
	s.MatchFilter(deep, func(string, int) bool { hits++; return true })
	if !Match(plus, deep) || hits != 4 {
		t.Fatalf("%d hits", hits)
	}
	x.Delete(plus, 1)
	s.Delete(deep)
	if d := time.Since(start); d > 2*time.Second {
		t.Fatalf("took %v", d)
	}
}

func TestMatchAllocs(t *testing.T) {
	x := filled(10_000)
	hits := 0
	fn := func(int, int) { hits++ }
	if n := testing.AllocsPerRun(100, func() { x.Match("site/7/device/7/temp", fn) }); n != 0 || hits == 0 {
		t.Fatalf("%v allocations, %d hits", n, hits)
	}
}

// TestConcurrent is for the race detector; what never changes must always match.
func TestConcurrent(t *testing.T) {
	x, s := NewIndex[int, int](), NewStore[int]()
	x.Set("a/+/c", -1, 0)
	s.Set("a/b/c", 0)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				f := fmt.Sprintf("a/%d/#", i%5)
				x.Set(f, g, i)
				s.Set(fmt.Sprintf("a/%d/c", i%50), i)
				found := false
				x.Match("a/b/c", func(k, _ int) { found = found || k == -1 })
				kept := false
				s.MatchFilter("a/+/c", func(n string, _ int) bool { kept = kept || n == "a/b/c"; return true })
				if !found || !kept {
					t.Error("a steady entry was not found")
					return
				}
				x.Delete(f, g)
				s.Delete(fmt.Sprintf("a/%d/c", i%50))
			}
		})
	}
	wg.Wait()
	if x.Len() != 1 {
		t.Errorf("%d filters left", x.Len())
	}
}

// filled returns an index of n filters as a broker has them: mostly exact,
// a third with wildcards.
func filled(n int) *Index[int, int] {
	x := NewIndex[int, int]()
	for i := range n {
		switch i % 3 {
		case 0:
			x.Set(fmt.Sprintf("site/%d/+/%d/temp", i%100, i), i, i)
		case 1:
			x.Set(fmt.Sprintf("site/%d/device/%d/temp", i%100, i), i, i)
		case 2:
			x.Set(fmt.Sprintf("site/%d/device/%d/#", i%100, i), i, i)
		}
	}
	x.Set("site/7/device/7/temp", -1, 0)
	x.Set("site/+/device/+/temp", -2, 0)
	return x
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		x := filled(n)
		names := make([]string, 1000)
		for i := range names {
			k := i * n / len(names)
			names[i] = fmt.Sprintf("site/%d/device/%d/temp", k%100, k)
		}
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				hits := 0
				fn := func(int, int) { hits++ }
				for i := 0; pb.Next(); i++ {
					x.Match(names[i%len(names)], fn)
				}
			})
		})
	}
}

func BenchmarkSetDelete(b *testing.B) {
	x := filled(100_000)
	filters := make([]string, 1000)
	for i := range filters {
		filters[i] = fmt.Sprintf("site/%d/device/new%d/+", i%100, i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.Set(filters[i%len(filters)], 1, 1)
		x.Delete(filters[i%len(filters)], 1)
	}
}

func BenchmarkMatchFilter(b *testing.B) {
	s := NewStore[int]()
	for i := range 100_000 {
		s.Set(fmt.Sprintf("site/%d/device/%d/temp", i%100, i), i)
	}
	for _, f := range []string{"site/7/device/7/temp", "site/7/device/7/+", "site/7/device/+/temp", "site/7/device/7/#"} {
		b.Run(f, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.MatchFilter(f, func(string, int) bool { return true })
			}
		})
	}
}
