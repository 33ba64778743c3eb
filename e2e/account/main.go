// An account of MinIO that may do everything with objects comes or goes, by its administrative API: what `mc admin user` does.
//
//	account HOST:PORT add NAME KEY
//	account HOST:PORT remove NAME
//
// MINIO_ROOT_USER and MINIO_ROOT_PASSWORD are those of the server.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/minio/madmin-go/v3"
)

func change(arguments []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	admin, err := madmin.New(arguments[0], os.Getenv("MINIO_ROOT_USER"), os.Getenv("MINIO_ROOT_PASSWORD"), false)
	if err != nil {
		return err
	}
	name := arguments[2]
	if arguments[1] == "remove" {
		return admin.RemoveUser(ctx, name)
	}
	if err := admin.AddUser(ctx, name, arguments[3]); err != nil {
		return err
	}
	_, err = admin.AttachPolicy(ctx, madmin.PolicyAssociationReq{Policies: []string{"readwrite"}, User: name})
	return err
}

func main() {
	if err := change(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
