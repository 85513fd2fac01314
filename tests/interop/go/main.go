// A client of github.com/go-zookeeper/zk that tries its API against one server.
//
//	interop HOST:PORT
//
// Prints "ok NAME" or "FAILED NAME: what" per check and ends with status 1 when one failed. The line "RESTART" asks for a
// restart of the server, a line on standard input says that it is done.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	base    = "/go"
	patient = 30 * time.Second
)

var failed bool

func check(name string, good bool, detail ...any) {
	if good {
		fmt.Println("ok      " + name)
		return
	}
	failed = true
	fmt.Printf("FAILED  %s: %s\n", name, fmt.Sprint(detail...))
}

func checkErr(name string, err, want error) {
	check(name, errors.Is(err, want) || err == want, "got ", err, ", expected ", want)
}

// event waits for the one event of a watch.
func event(name string, events <-chan zk.Event, kind zk.EventType, path string) {
	select {
	case got := <-events:
		check(name, got.Type == kind && got.Path == path, got.Type, " ", got.Path)
	case <-time.After(patient):
		check(name, false, "no event")
	}
}

func connect(server string) *zk.Conn {
	conn, events, err := zk.Connect([]string{server}, 20*time.Second, zk.WithLogInfo(false))
	if err != nil {
		fmt.Println("FAILED  connect:", err)
		os.Exit(1)
	}
	deadline := time.After(patient)
	for {
		select {
		case got := <-events:
			if got.State == zk.StateHasSession {
				return conn
			}
		case <-deadline:
			fmt.Println("FAILED  connect: no session")
			os.Exit(1)
		}
	}
}

func nodes(conn *zk.Conn) {
	open := zk.WorldACL(zk.PermAll)
	path, err := conn.Create(base, []byte("root"), zk.FlagPersistent, open)
	check("create", err == nil && path == base, path, err)
	_, err = conn.Create(base, nil, 0, open)
	checkErr("create again", err, zk.ErrNodeExists)
	_, err = conn.Create(base+"/a/b", nil, 0, open)
	checkErr("create without a parent", err, zk.ErrNoNode)

	data, stat, err := conn.Get(base)
	check("get", err == nil && string(data) == "root" && stat.DataLength == 4 && stat.Version == 0, err)
	stat, err = conn.Set(base, []byte("new"), 0)
	check("set", err == nil && stat.Version == 1, err)
	_, err = conn.Set(base, nil, 0)
	checkErr("set with a stale version", err, zk.ErrBadVersion)
	_, err = conn.Create(base+"/null", nil, 0, open)
	checkErr("create without data", err, nil)
	data, stat, err = conn.Get(base + "/null")
	check("get without data", err == nil && len(data) == 0 && stat.DataLength == 0, err)
	found, _, err := conn.Exists(base + "/none")
	check("exists without a node", !found && err == nil, err)

	for i := range 3 {
		path, err = conn.Create(base+"/s-", nil, zk.FlagSequence, open)
		check("create a sequential node", err == nil && path == fmt.Sprintf("%s/s-%010d", base, i+1), path, err)
	}
	children, stat, err := conn.Children(base)
	sort.Strings(children)
	check("children", err == nil && strings.Join(children, " ") == "null s-0000000001 s-0000000002 s-0000000003" &&
		stat.NumChildren == 4, children, err)
	checkErr("delete with children", conn.Delete(base, -1), zk.ErrNotEmpty)
	checkErr("delete with a wrong version", conn.Delete(base+"/null", 5), zk.ErrBadVersion)
	checkErr("delete", conn.Delete(base+"/null", 0), nil)

	_, err = conn.Create(base+"/e", nil, zk.FlagEphemeral, open)
	checkErr("create an ephemeral node", err, nil)
	_, stat, err = conn.Get(base + "/e")
	check("its owner is this session", err == nil && stat.EphemeralOwner == conn.SessionID(), stat, err)
	_, err = conn.Create(base+"/e/c", nil, 0, open)
	checkErr("an ephemeral node has no children", err, zk.ErrNoChildrenForEphemerals)
	path, err = conn.CreateProtectedEphemeralSequential(base+"/p-", nil, open)
	check("create a protected node", err == nil && strings.HasPrefix(path, base+"/_c_"), path, err)
	_, err = conn.CreateContainer(base+"/container", nil, zk.FlagContainer, open)
	checkErr("create a container", err, nil)
	_, err = conn.CreateTTL(base+"/ttl", nil, zk.FlagTTL, open, time.Hour)
	checkErr("create a TTL node", err, nil)
	path, err = conn.Sync(base)
	check("sync", err == nil && path == base, path, err)
}

func watches(conn *zk.Conn) {
	open := zk.WorldACL(zk.PermAll)
	_, _ = conn.Create(base+"/w", nil, 0, open)
	_, _, created, err := conn.ExistsW(base + "/w/n")
	checkErr("watch a missing node", err, nil)
	_, _, children, err := conn.ChildrenW(base + "/w")
	checkErr("watch children", err, nil)
	_, _ = conn.Create(base+"/w/n", nil, 0, open)
	event("the node is created", created, zk.EventNodeCreated, base+"/w/n")
	event("the children change", children, zk.EventNodeChildrenChanged, base+"/w")
	_, _, changed, err := conn.GetW(base + "/w/n")
	checkErr("watch data", err, nil)
	_, _ = conn.Set(base+"/w/n", []byte("x"), -1)
	event("the data changes", changed, zk.EventNodeDataChanged, base+"/w/n")
	_, _, deleted, err := conn.GetW(base + "/w/n")
	checkErr("watch for the delete", err, nil)
	_ = conn.Delete(base+"/w/n", -1)
	event("the node is deleted", deleted, zk.EventNodeDeleted, base+"/w/n")
}

func transactions(conn *zk.Conn) {
	open := zk.WorldACL(zk.PermAll)
	results, err := conn.Multi(
		&zk.CreateRequest{Path: base + "/m", Data: []byte("1"), Acl: open},
		&zk.SetDataRequest{Path: base + "/m", Data: []byte("2"), Version: 0},
		&zk.CheckVersionRequest{Path: base + "/m", Version: 1},
		&zk.CreateRequest{Path: base + "/m/s-", Acl: open, Flags: zk.FlagSequence},
		&zk.DeleteRequest{Path: base + "/m/s-0000000000", Version: -1},
	)
	check("multi", err == nil && len(results) == 5 && results[0].String == base+"/m" && results[1].Stat.Version == 1 &&
		results[3].String == base+"/m/s-0000000000", results, err)
	results, err = conn.Multi(
		&zk.SetDataRequest{Path: base + "/m", Data: []byte("3"), Version: -1},
		&zk.DeleteRequest{Path: base + "/none", Version: -1},
	)
	checkErr("a multi that fails", err, zk.ErrNoNode)
	check("a multi that fails: the result of each", len(results) == 2 && results[0].Error == nil &&
		results[1].Error == zk.ErrNoNode, results)
	data, _, _ := conn.Get(base + "/m")
	check("a multi that fails changes nothing", string(data) == "2", string(data))
}

func acls(conn *zk.Conn, server string) {
	checkErr("add auth", conn.AddAuth("digest", []byte("user:password")), nil)
	_, err := conn.Create(base+"/auth", []byte("secret"), 0, zk.AuthACL(zk.PermAll))
	checkErr("the creator's ACL", err, nil)
	acl, stat, err := conn.GetACL(base + "/auth")
	check("get ACL", err == nil && len(acl) == 1 && acl[0] == zk.DigestACL(zk.PermAll, "user", "password")[0] &&
		stat.Aversion == 0, acl, err)
	stranger := connect(server)
	_, _, err = stranger.Get(base + "/auth")
	checkErr("a stranger may not read", err, zk.ErrNoAuth)
	stat, err = conn.SetACL(base+"/auth", zk.WorldACL(zk.PermRead), 0)
	check("set ACL", err == nil && stat.Aversion == 1, err)
	_, _, err = stranger.Get(base + "/auth")
	checkErr("now a stranger may read", err, nil)
	_, err = stranger.Set(base+"/auth", nil, -1)
	checkErr("but not write", err, zk.ErrNoAuth)
	stranger.Close()
}

// lock has many sessions count in one node under the library's lock recipe.
func lock(conn *zk.Conn, server string) {
	const sessions, rounds = 4, 10
	open := zk.WorldACL(zk.PermAll)
	_, _ = conn.Create(base+"/counter", []byte("0"), 0, open)
	var group sync.WaitGroup
	for range sessions {
		group.Add(1)
		go func() {
			defer group.Done()
			other := connect(server)
			defer other.Close()
			for range rounds {
				l := zk.NewLock(other, base+"/lock", open)
				if err := l.Lock(); err != nil {
					return
				}
				data, _, _ := other.Get(base + "/counter")
				var value int
				_, _ = fmt.Sscan(string(data), &value)
				_, _ = other.Set(base+"/counter", []byte(fmt.Sprint(value+1)), -1)
				_ = l.Unlock()
			}
		}()
	}
	group.Wait()
	data, _, _ := conn.Get(base + "/counter")
	check("sessions count under a lock", string(data) == fmt.Sprint(sessions*rounds), string(data))
}

func restart(conn *zk.Conn) {
	session := conn.SessionID()
	_, _, changed, err := conn.GetW(base + "/m")
	checkErr("watch over a restart", err, nil)
	fmt.Println("RESTART")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		os.Exit(2)
	}
	deadline := time.Now().Add(patient)
	for {
		_, err = conn.Set(base+"/m", []byte("after"), -1)
		if err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	checkErr("write after a restart", err, nil)
	event("the watch was set again", changed, zk.EventNodeDataChanged, base+"/m")
	found, stat, err := conn.Exists(base + "/e")
	check("session and ephemeral node outlive the restart", err == nil && found && conn.SessionID() == session &&
		stat.EphemeralOwner == session, found, err)
}

// words: the library's readers of srvr and cons do not understand the text of any server since 3.6, so only ruok is asked.
func words(server string) {
	ruok := zk.FLWRuok([]string{server}, patient)
	check("ruok", len(ruok) == 1 && ruok[0], ruok)
}

func main() {
	if len(os.Args) != 2 {
		os.Exit(2)
	}
	server := os.Args[1]
	conn := connect(server)
	nodes(conn)
	watches(conn)
	transactions(conn)
	acls(conn, server)
	lock(conn, server)
	words(server)
	restart(conn)
	conn.Close()
	conn = connect(server)
	found, _, err := conn.Exists(base + "/e")
	check("the ephemeral node is gone with its session", err == nil && !found, err)
	conn.Close()
	if failed {
		os.Exit(1)
	}
}
