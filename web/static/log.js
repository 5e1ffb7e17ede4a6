// The log, checked in the browser as docs/formats/log.md says. Nothing fetched is trusted: all is computed, up to a
// checkpoint signed by the visitor's own key.

const TILE = 256;
const utf8 = new TextEncoder();

/** Refuses unless `is`; pages have words for the codes. */
const check = (is, code, values = {}) => {
  if (!is) throw Object.assign(new Error(code), { code, values });
};

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const fromBase64 = (text) => {
  let binary = "";
  try {
    binary = atob(text);
  } catch {}
  check(binary && btoa(binary) === text, "damaged"); // one form alone
  return Uint8Array.from(binary, (character) => character.charCodeAt());
};

/* The tree */

const sha256 = async (...parts) => {
  check(globalThis.crypto?.subtle, "insecure");
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(parts.flatMap((part) => [...part]))));
};
export const leafHash = (entry) => sha256([0], entry);
const nodeHash = (left, right) => sha256([1], left, right);

const middleOf = (start, end) => {
  let half = 1;
  while (half * 2 < end - start) half *= 2;
  return start + half;
};

const rootOf = async (hashes) => {
  if (hashes.length < 2) return hashes[0] ?? sha256();
  const middle = middleOf(0, hashes.length);
  return nodeHash(await rootOf(hashes.slice(0, middle)), await rootOf(hashes.slice(middle)));
};

/** What `walk` makes of all hashes of a proof, from its end. */
export const fromProof = async (proof, walk) => {
  const left = [...proof];
  const made = await walk(() => (check(left.length, "wrong-proof"), left.pop()));
  check(!left.length, "wrong-proof");
  return made;
};

/** The root over a leaf; `sibling(start, end)` hashes the leaves beside the way. */
const rootOver = async (leaf, index, start, end, sibling) => {
  if (end - start === 1) return leaf;
  const middle = middleOf(start, end);
  if (index >= middle) return nodeHash(await sibling(start, middle), await rootOver(leaf, index, middle, end, sibling));
  const right = await sibling(middle, end);
  return nodeHash(await rootOver(leaf, index, start, middle, sibling), right);
};

/** Refuses unless the entry is where the checkpoint has it. */
export const verifyInclusion = async (entry, index, { size, root }, sibling) => {
  check(Number.isInteger(index) && index >= 0 && index < size, "wrong-proof");
  check(hex(await rootOver(await leafHash(entry), index, 0, size, sibling)) === hex(root), "wrong-proof");
};

/** Refuses unless one checkpoint's tree extends the other's. */
export const verifyConsistency = async (older, newer, sibling) => {
  check(older.size <= newer.size, "inconsistent");
  const walk = async (start, end) => {
    if (end === older.size) {
      const known = start ? await sibling(start, end) : older.root;
      return [known, known];
    }
    const middle = middleOf(start, end);
    if (older.size > middle) {
      const left = await sibling(start, middle);
      return Promise.all((await walk(middle, end)).map((hash) => nodeHash(left, hash)));
    }
    const right = await sibling(middle, end);
    const [was, is] = await walk(start, middle);
    return [was, await nodeHash(is, right)];
  };
  const [was, is] = older.size ? await walk(0, newer.size) : [await rootOf([]), newer.root];
  check(hex(was) === hex(older.root) && hex(is) === hex(newer.root), "inconsistent");
};

/* Tiles */

export const tilePath = (level, index, width = TILE) => {
  const digits = `00${index}`;
  const groups = digits.slice(digits.length % 3).match(/.../g);
  const name = groups.map((group, i) => (groups[i + 1] ? `x${group}` : group)).join("/");
  return `tile/${level ?? "entries"}/${name}${width < TILE ? `.p/${width}` : ""}`;
};

/** The tree of so many entries; `read` gives a file of the log, or null. */
export const treeOf = (size, read) => {
  const kept = new Map();
  const tile = async (level, index, cut) => {
    const width = Math.min(TILE, Math.floor(size / TILE ** (level ?? 0)) - index * TILE);
    const path = tilePath(level, index, width);
    if (!kept.has(path)) {
      const bytes = (await read(path)) ?? (await read(tilePath(level, index))); // full by now
      check(bytes, "missing", { path });
      kept.set(path, cut(bytes).slice(0, width));
    }
    check(kept.get(path).length === width, "damaged");
    return kept.get(path);
  };
  const hash = async (start, end) => {
    const height = Math.log2(end - start);
    if (height % 1 || start % (end - start)) {
      const middle = middleOf(start, end);
      return nodeHash(await hash(start, middle), await hash(middle, end));
    }
    const level = Math.floor(height / 8);
    const first = start / TILE ** level;
    const hashes = await tile(level, Math.floor(first / TILE), (bytes) =>
      Array.from({ length: bytes.length / 32 }, (_, i) => bytes.slice(i * 32, i * 32 + 32)));
    return rootOf(hashes.slice(first % TILE, (first % TILE) + 2 ** (height % 8)));
  };
  const entry = async (index) => {
    const entries = await tile(null, Math.floor(index / TILE), (bytes) => {
      const found = [];
      for (let at = 0; at < bytes.length; at += 2 + found.at(-1).length) {
        found.push(bytes.slice(at + 2, at + 2 + bytes[at] * 256 + bytes[at + 1]));
      }
      return found;
    });
    return entries[index % TILE];
  };
  return { hash, entry };
};

/* Checkpoints */

/** A public key, `<name>+<8 hex>+<base64>`: a log's (type 1) or a witness's (type 4). */
export const parseKey = async (vkey) => {
  const [, name, id, material] = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey) ?? check(false, "no-key");
  const bytes = fromBase64(material);
  const hash = await sha256(utf8.encode(`${name}\n`), bytes);
  check(bytes.length === 33 && [1, 4].includes(bytes[0]) && hex(hash).startsWith(id), "no-key");
  return { name, id, type: bytes[0], bytes: bytes.slice(1) };
};

const isSigned = async (key, signature, text) => {
  const imported = await crypto.subtle.importKey("raw", key.bytes, "Ed25519", false, ["verify"]).catch(() => null);
  check(imported, "no-ed25519");
  return crypto.subtle.verify("Ed25519", imported, signature, utf8.encode(text));
};

/** The checkpoint of a note that the first key signed, with those of the others that cosigned it. */
export const openCheckpoint = async (note, keys) => {
  const end = note.lastIndexOf("\n\n");
  const text = note.slice(0, end + 1);
  const signed = [];
  for (const line of note.slice(end + 2).replace(/\n$/, "").split("\n")) {
    const [, name, data] = /^— ([^\s+]+) (\S+)$/.exec(line) ?? check(false, "damaged");
    const bytes = fromBase64(data);
    const key = keys.find((each) => each.name === name && each.id === hex(bytes.slice(0, 4)));
    if (!key) continue;
    const time = key.type === 4 && new DataView(bytes.buffer).getBigUint64(4);
    const isRight = key.type === 4
      ? await isSigned(key, bytes.slice(12), `cosignature/v1\ntime ${time}\n${text}`)
      : await isSigned(key, bytes.slice(4), text);
    check(isRight, "wrong-signature", { name });
    signed.push({ key, at: new Date(Number(time) * 1000) });
  }
  const [origin, size, root] = text.split("\n");
  const [{ name, type }] = keys;
  check(type === 1 && origin === name && signed.some(({ key }) => key === keys[0]), "not-signed", { name });
  check(/^(0|[1-9]\d{0,14})$/.test(size) && note.endsWith("\n"), "damaged");
  return { origin, size: Number(size), root: fromBase64(root), witnesses: signed.filter(({ key }) => key.type === 4) };
};

/* Receipts */

const canonical = (value) => {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
};

/** What a receipt proves. That what happened could happen, `heldout verify` checks besides. */
export const verifyReceipt = async (text, keys) => {
  let receipt;
  try {
    receipt = JSON.parse(text);
  } catch {}
  const { sha256: digest, ...members } = receipt ?? {};
  const { claim, entries } = members;
  check(Object.keys(members).sort().join() === "checkpoint,claim,entries,format", "no-receipt");
  check(members.format === "heldout-receipt/1" && Array.isArray(entries), "no-receipt");
  check(!("sha256" in receipt) || digest === hex(await sha256(utf8.encode(canonical(members)))), "damaged");
  const checkpoint = await openCheckpoint(`${members.checkpoint}`, keys);
  const proved = [];
  for (const { index, leaf, proof } of entries) {
    const bytes = fromBase64(leaf);
    check(index > (proved.at(-1)?.index ?? -1), "not-whole");
    await fromProof(proof.map(fromBase64), (sibling) => verifyInclusion(bytes, index, checkpoint, sibling));
    const said = new TextDecoder().decode(bytes);
    const entry = JSON.parse(said);
    check(canonical(entry) === said && entry.claim === claim, "not-whole");
    proved.push({ index, ...entry });
  }
  const n = proved[0]?.part?.[1];
  check(n && proved.every(({ part }, i) => (i < n ? part?.[0] === i + 1 && part[1] === n : !part)), "not-whole");
  check(proved.length >= n, "not-whole");
  return { claim, checkpoint, entries: proved };
};
