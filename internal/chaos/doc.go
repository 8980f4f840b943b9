// Package chaos holds the tests that end broker processes at random moments
// and count what their clients have lost. Its clients do what MQTT asks of a
// client whose server may crash, and write down everything that they saw.
package chaos
