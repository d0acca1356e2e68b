// A foreign peer: the ICE agent and the TURN client of pion, driven by lines on the standard input and reporting in lines of JSON. One file of our own
// around the published modules; the tests build it (test/interop/support/pion.ts).
//
//	pion ice controlling|controlled UFRAG PASSWORD   candidates of the other side come as lines; echoes all data once connected
//	pion turn SERVER USERNAME PASSWORD REALM 4|6     allocates; a line "ADDRESS TEXT" sends, "release" gives the allocation back
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/pion/ice/v4"
	"github.com/pion/turn/v5"
)

type report map[string]any

var output sync.Mutex

func say(line report) {
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	switch arguments := os.Args[1:]; {
	case len(arguments) == 4 && arguments[0] == "ice":
		runIce(arguments[1] == "controlling", arguments[2], arguments[3])
	case len(arguments) == 6 && arguments[0] == "turn":
		runTurn(arguments[1:])
	default:
		check(fmt.Errorf("usage: see main.go"))
	}
}

func runIce(controlling bool, remoteUfrag, remotePassword string) {
	agent, err := ice.NewAgentWithOptions(
		ice.WithIncludeLoopback(),
		ice.WithIPFilter(func(address net.IP) bool { return address.Equal(net.IPv4(127, 0, 0, 1)) }),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
	)
	check(err)
	check(agent.OnConnectionStateChange(func(state ice.ConnectionState) { say(report{"state": state.String()}) }))
	check(agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) {
		say(report{"selected": remote.Address() + ":" + fmt.Sprint(remote.Port())})
	}))
	gathered := make(chan struct{})
	check(agent.OnCandidate(func(candidate ice.Candidate) {
		if candidate == nil {
			close(gathered)
			return
		}
		say(report{"candidate": "candidate:" + candidate.Marshal()})
	}))
	ufrag, password, err := agent.GetLocalUserCredentials()
	check(err)
	say(report{"ufrag": ufrag, "password": password})
	check(agent.GatherCandidates())
	<-gathered
	say(report{"gathered": true})
	go readCandidates(agent)

	connect := agent.Accept
	if controlling {
		connect = agent.Dial
	}
	connection, err := connect(context.Background(), remoteUfrag, remotePassword)
	check(err)
	buffer := make([]byte, 2048)
	for {
		length, err := connection.Read(buffer)
		check(err)
		say(report{"data": string(buffer[:length])})
		_, err = connection.Write(append([]byte("pion heard: "), buffer[:length]...))
		check(err)
	}
}

// readCandidates also ends the program with its input.
func readCandidates(agent *ice.Agent) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		candidate, err := ice.UnmarshalCandidate(lines.Text())
		check(err)
		check(agent.AddRemoteCandidate(candidate))
		say(report{"added": candidate.String()})
	}
	_ = agent.Close()
	os.Exit(0)
}

func runTurn(arguments []string) {
	server, username, password, realm := arguments[0], arguments[1], arguments[2], arguments[3]
	family := turn.RequestedAddressFamilyIPv4
	if arguments[4] == "6" {
		family = turn.RequestedAddressFamilyIPv6
	}
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(err)
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr:         server,
		TURNServerAddr:         server,
		Conn:                   socket,
		Username:               username,
		Password:               password,
		Realm:                  realm,
		RequestedAddressFamily: family,
	})
	check(err)
	check(client.Listen())
	mapped, err := client.SendBindingRequest()
	check(err)
	relayed, err := client.Allocate()
	check(err)
	say(report{"mapped": mapped.String(), "socket": socket.LocalAddr().String(), "relayed": relayed.LocalAddr().String()})
	go func() {
		buffer := make([]byte, 2048)
		for {
			length, from, err := relayed.ReadFrom(buffer)
			if err != nil {
				return
			}
			say(report{"from": from.String(), "data": string(buffer[:length])})
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "release" {
			check(relayed.Close())
			say(report{"released": true})
			continue
		}
		to, text, _ := strings.Cut(lines.Text(), " ")
		address, err := net.ResolveUDPAddr("udp", to)
		check(err)
		_, err = relayed.WriteTo([]byte(text), address)
		check(err)
	}
	client.Close()
}
