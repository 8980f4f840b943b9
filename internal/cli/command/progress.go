package command

import (
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bar is one part of a long operation and how much of it is done.
type Bar struct {
	Name        string
	Done, Total int64
}

// Progress tells on stderr how far an operation is: on a terminal with bars,
// elsewhere with a line whenever something has changed.
type Progress struct {
	f    *Factory
	last string
	all  *mpb.Progress
	bars map[string]*mpb.Bar
}

// Progress begins a report; Close ends it.
func (f *Factory) Progress() *Progress { return &Progress{f: f} }

// Report tells the present step. line says all of it; bars are drawn instead
// of it where they can be.
func (p *Progress) Report(line string, bars ...Bar) {
	if len(bars) > 0 && p.f.IO.ErrTTY {
		for _, b := range bars {
			p.draw(b)
		}
		return
	}
	if line != p.last {
		p.end()
		p.f.Note("%s", line)
		p.last = line
	}
}

// barWidth is what a bar with its name and figures takes.
const barWidth = 64

func (p *Progress) draw(b Bar) {
	if p.all == nil {
		p.all = mpb.New(mpb.WithOutput(p.f.IO.Err), mpb.WithWidth(barWidth), mpb.ForceAutoRefresh())
		p.bars = map[string]*mpb.Bar{}
	}
	bar := p.bars[b.Name]
	if bar == nil {
		bar = p.all.AddBar(b.Total,
			mpb.PrependDecorators(decor.Name(b.Name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d")))
		p.bars[b.Name] = bar
	}
	bar.SetTotal(b.Total, false)
	bar.SetCurrent(b.Done)
}

// end finishes the bars that are drawn, and leaves them on the screen.
func (p *Progress) end() {
	if p.all == nil {
		return
	}
	for _, bar := range p.bars {
		bar.EnableTriggerComplete()
		bar.Abort(false)
	}
	p.all.Wait()
	p.all, p.bars = nil, nil
}

// Close ends the report; the result may be printed then.
func (p *Progress) Close() { p.end() }
