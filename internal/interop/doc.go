// Package interop holds tests that run clients which other people wrote
// (paho, mosquitto's programs, MQTT.js) against a broker process, over every
// kind of listener. What works only between this project's own encoder and
// decoder shows here.
package interop
