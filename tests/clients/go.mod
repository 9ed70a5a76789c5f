// The modules of the example in docs/protocol.md.
module example

go 1.19

require github.com/coder/websocket v1.8.12
