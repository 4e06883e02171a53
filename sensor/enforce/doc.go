// Package enforce keeps the kernel at what is wanted: it takes drops in, asks the guards once more, puts them into a Table, reads
// back what is in force, repairs what differs, and tells with receipts what became of each.
package enforce
