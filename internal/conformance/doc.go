// Package conformance tests the broker from outside, through its connections
// alone: one test for every normative statement of MQTT 3.1.1 and 5.0 that
// binds a server and can be seen there, for what MQTT 3.1 and bridges ask, and
// for the behaviours that suites of others check. The statements are data
// (testdata/*.tsv) in our own words; docs/conformance.md is generated from them
// and from the names of the tests, and a statement without a test or a reason
// fails the build.
package conformance
