package queue

import "github.com/mqadmin/mqadmin/internal/message"

// Store keeps durable sessions. Implemented by msgstore.Store.
type Store interface{}

// Stored is one message of a queue as the store has it.
type Stored struct {
	Seq     uint64
	Message *message.Message
}

// Queue is what waits for one session.
type Queue struct{}
