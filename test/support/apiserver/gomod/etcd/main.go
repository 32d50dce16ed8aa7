// Command etcd is the unmodified etcd server, built for tests.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"apiserver-for-tests/parent"
)

func main() {
	parent.EndWithStdin()
	etcdmain.Main(os.Args)
}
