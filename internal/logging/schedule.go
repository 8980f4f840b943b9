package logging

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Schedule says when a file is rotated by the clock; the zero value is never.
type Schedule struct {
	set     bool
	weekday int // -1: any
	day     int // of the month; 0: any
	hour    int // -1: any
	minute  int
}

// ErrSchedule is returned for text that is no schedule.
var ErrSchedule = errors.New("bad rotation schedule")

// scheduleSyntax is that of lager, which has it from newsyslog.
var scheduleSyntax = regexp.MustCompile(`^\$(?:W([0-6])|M([0-9]{1,2}))?(?:D([0-9]{1,2}))?(?:H([0-9]{1,2}))?$`)

// ParseSchedule reads $D0 (daily at hour 0), $W0D23 (Sundays at 23:00), $M1D5
// (the first of a month at 5:00), $H30 (hourly at minute 30) and combinations
// such as $D4H30 (daily at 4:30); "" and "off" are never.
func ParseSchedule(text string) (Schedule, error) {
	if text == "" || text == "off" {
		return Schedule{}, nil
	}
	m := scheduleSyntax.FindStringSubmatch(text)
	if m == nil || text == "$" {
		return Schedule{}, fmt.Errorf("%w %q", ErrSchedule, text)
	}
	s := Schedule{set: true, weekday: number(m[1], -1), day: number(m[2], 0), hour: number(m[3], -1), minute: number(m[4], 0)}
	if s.hour < 0 && (s.weekday >= 0 || m[2] != "") {
		s.hour = 0
	}
	if s.day > 31 || m[2] != "" && s.day == 0 || s.hour > 23 || s.minute > 59 {
		return Schedule{}, fmt.Errorf("%w %q", ErrSchedule, text)
	}
	return s, nil
}

func number(text string, none int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return none
	}
	return n
}

// Next returns the first rotation after t in t's zone, zero for never. A day
// that a month does not have is its last day.
func (s Schedule) Next(t time.Time) time.Time {
	if !s.set {
		return time.Time{}
	}
	if s.hour < 0 {
		at := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), s.minute, 0, 0, t.Location())
		if !at.After(t) {
			at = at.Add(time.Hour)
		}
		return at
	}
	for offset := 0; ; offset++ {
		at := time.Date(t.Year(), t.Month(), t.Day()+offset, s.hour, s.minute, 0, 0, t.Location())
		if at.After(t) && s.falls(at) {
			return at
		}
	}
}

// falls reports whether the schedule rotates on at's day.
func (s Schedule) falls(at time.Time) bool {
	if s.weekday >= 0 {
		return int(at.Weekday()) == s.weekday
	}
	if s.day > 0 {
		last := time.Date(at.Year(), at.Month()+1, 0, 0, 0, 0, 0, at.Location()).Day()
		return at.Day() == min(s.day, last)
	}
	return true
}
