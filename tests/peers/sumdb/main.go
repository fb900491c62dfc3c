// Judges an exported audit log with Go's own transparency log library (golang.org/x/mod/sumdb), which shares nothing
// with ours: the checkpoint's signature, the root over every record, every hash tile in the folder, and that the tiles
// alone prove each record to be in the log.
//
//	sumdb FOLDER VERIFIER_KEY
//	sumdb proof FILE VERIFIER_KEY [OLDER_CHECKPOINT]
//
// The second form judges one proof: that a record is in the log, or that the log only grew since the older checkpoint.
// Prints the size and the root on success; what is wrong, and exit code 1, otherwise.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// C2SP tlog-tiles: 256 hashes a tile, 256 records a bundle.
const height = 8
const width = 1 << height

func main() {
	var err error
	if os.Args[1] == "proof" {
		err = judgeProof(os.Args[2], os.Args[3], os.Args[4:])
	} else {
		err = judge(os.Args[1], os.Args[2])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func judge(folder, key string) error {
	size, root, err := checkpoint(folder, key)
	if err != nil {
		return err
	}
	var stored hashes
	for n := int64(0); n*width < size; n++ {
		records, err := bundle(folder, n, min(width, size-n*width))
		if err != nil {
			return err
		}
		for i, record := range records {
			new, err := tlog.StoredHashes(n*width+int64(i), record, &stored)
			if err != nil {
				return err
			}
			stored = append(stored, new...)
		}
	}
	got, err := tlog.TreeHash(size, &stored)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("the root over the records is %v, the checkpoint says %v", got, root)
	}
	tiles, err := hashTiles(folder, size, &stored)
	if err != nil {
		return err
	}
	if err := inclusion(folder, size, root, stored); err != nil {
		return err
	}
	fmt.Printf("%d records, %d tiles, root %v\n", size, tiles, root)
	return nil
}

// Opens the signed note; the three lines are origin, size and root (C2SP tlog-checkpoint).
func checkpoint(folder, key string) (int64, tlog.Hash, error) {
	return open(filepath.Join(folder, "checkpoint"), key)
}

func open(path, key string) (int64, tlog.Hash, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	return openText(text, key)
}

func openText(text []byte, key string) (int64, tlog.Hash, error) {
	var root tlog.Hash
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, root, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 3 || lines[0] != verifier.Name() {
		return 0, root, fmt.Errorf("the checkpoint is not of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(raw) != tlog.HashSize {
		return 0, root, fmt.Errorf("the checkpoint's root is no hash: %q", lines[2])
	}
	copy(root[:], raw)
	return size, root, nil
}

// A proof as a file: C2SP tlog-proof with the record as its extra data, or what a C2SP tlog-witness is sent.
func judgeProof(path, key string, older []string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, signed, _ := strings.Cut(string(text), "\n\n")
	size, root, err := openText([]byte(signed), key)
	if err != nil {
		return err
	}
	lines := strings.Split(head, "\n")
	if lines[0] == "c2sp.org/tlog-proof@v1" {
		record, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
		if err != nil {
			return err
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
		if err != nil {
			return err
		}
		path, err := path64(lines[3:])
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(record)); err != nil {
			return err
		}
		fmt.Printf("record %d of %d\n", index, size)
		return nil
	}
	oldSize, oldRoot, err := open(older[0], key)
	if err != nil {
		return err
	}
	if lines[0] != fmt.Sprintf("old %d", oldSize) {
		return fmt.Errorf("%q is not the older checkpoint's size", lines[0])
	}
	path2, err := path64(lines[1:])
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(tlog.TreeProof(path2), size, root, oldSize, oldRoot); err != nil {
		return err
	}
	fmt.Printf("%d grew to %d\n", oldSize, size)
	return nil
}

func path64(lines []string) (tlog.RecordProof, error) {
	var path tlog.RecordProof
	for _, line := range lines {
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != tlog.HashSize {
			return nil, fmt.Errorf("%q is no hash", line)
		}
		path = append(path, tlog.Hash(raw))
	}
	return path, nil
}

// The records of an entry bundle, each behind its length in two bytes.
func bundle(folder string, n, count int64) ([][]byte, error) {
	path := filepath.Join(folder, "tile/entries", index(n, count))
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var records [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		records = append(records, data[2:end])
		data = data[end:]
	}
	if int64(len(records)) != count {
		return nil, fmt.Errorf("%s holds %d records, not %d", path, len(records), count)
	}
	return records, nil
}

// Every hash tile that the tree has must be there, with the bytes that Go computes.
func hashTiles(folder string, size int64, stored *hashes) (int, error) {
	count := 0
	for level, left := 0, size; left > 0; level, left = level+1, left/width {
		for n := int64(0); n*width < left; n++ {
			w := min(width, left-n*width)
			want, err := tlog.ReadTileData(tlog.Tile{H: height, L: level, N: n, W: int(w)}, stored)
			if err != nil {
				return count, err
			}
			path := filepath.Join(folder, "tile", strconv.Itoa(level), index(n, w))
			have, err := os.ReadFile(path)
			if err != nil {
				return count, err
			}
			if !bytes.Equal(have, want) {
				return count, fmt.Errorf("%s is not what the records make", path)
			}
			count++
		}
	}
	return count, nil
}

// Each record's proof, made from nothing but the tiles in the folder.
func inclusion(folder string, size int64, root tlog.Hash, stored hashes) error {
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, exported(folder))
	for n := int64(0); n < size; n++ {
		proof, err := tlog.ProveRecord(size, n, reader)
		if err != nil {
			return fmt.Errorf("record %d has no proof: %w", n, err)
		}
		if err := tlog.CheckRecord(proof, size, root, n, stored[tlog.StoredHashIndex(0, n)]); err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
	}
	return nil
}

// The folder as Go's tlog reads tiles.
type exported string

func (folder exported) Height() int { return height }

func (folder exported) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		path := filepath.Join(string(folder), "tile", strconv.Itoa(tile.L), index(tile.N, int64(tile.W)))
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func (folder exported) SaveTiles([]tlog.Tile, [][]byte) {}

// C2SP tlog-tiles: groups of three digits, all but the last with an x before; a partial one says its width.
func index(n, count int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if count < width {
		path = fmt.Sprintf("%s.p/%d", path, count)
	}
	return path
}

// What tlog keeps of a tree, in its own order.
type hashes []tlog.Hash

func (it *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	read := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		if index >= int64(len(*it)) {
			return nil, fmt.Errorf("hash %d is not stored", index)
		}
		read = append(read, (*it)[index])
	}
	return read, nil
}
