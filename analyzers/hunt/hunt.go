// Package hunt finds connections, hosts and requests that are unlike all others: vectors, robust scaling, density clusters.
package hunt
