// One client of the stream: prints a line for each reading (its temperature) and each hello.
// go run clients.go URL
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/donovanhide/eventsource"
)

func main() {
	stream, err := eventsource.Subscribe(os.Args[1], "")
	if err != nil {
		fmt.Println("ended", err)
		return
	}
	go func() {
		for range stream.Errors { // it goes on only if its errors are taken
		}
	}()
	for event := range stream.Events {
		var data struct {
			TempTenths int    `json:"temp_tenths"`
			Resume     string `json:"resume"`
		}
		if json.Unmarshal([]byte(event.Data()), &data) != nil {
			continue
		}
		switch event.Event() {
		case "telemetry":
			fmt.Println("reading", data.TempTenths)
		case "hello":
			fmt.Println("hello", data.Resume)
		}
	}
	fmt.Println("ended")
}
