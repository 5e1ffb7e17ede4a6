// Buttons that check the log by log.js. The page has the words.

import { hex, leafHash, openCheckpoint, parseKey, treeOf, verifyConsistency, verifyInclusion, verifyReceipt } from "./log.js";

const words = JSON.parse(document.getElementById("check-words").textContent);
const local = (value) => value.toLocaleString(document.documentElement.lang);
const kept = (() => {
  try {
    return localStorage;
  } catch {
    return {};
  }
})();

const read = async (path) => {
  const answer = await fetch(`/log/${path}`, { cache: "no-cache" }).catch(() => null);
  return answer?.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
};
const text = (bytes) => new TextDecoder().decode(bytes ?? new Uint8Array());

const opened = async (note, keys, tell) => {
  const checkpoint = await openCheckpoint(note, keys);
  tell("signed", { n: local(checkpoint.size), name: checkpoint.origin });
  for (const { key, at } of checkpoint.witnesses) tell("cosigned", { name: key.name, at: local(at) });
  return checkpoint;
};

/** The newest checkpoint and its tree; it must extend the last that this browser checked. */
const newest = async (keys, tell) => {
  const note = text(await read("checkpoint"));
  const checkpoint = await opened(note, keys, tell);
  const tree = treeOf(checkpoint.size, read);
  const name = `heldout log ${keys[0].name}+${keys[0].id}`;
  if (kept[name]) {
    const seen = await openCheckpoint(kept[name], keys.slice(0, 1));
    await verifyConsistency(seen, checkpoint, tree.hash);
    tell("extends-seen", { n: local(seen.size) });
  }
  kept[name] = note;
  return [checkpoint, tree];
};

const field = (panel, name) => panel.querySelector(`[name=${name}]`);

const ways = {
  entry: async (panel, keys, tell) => {
    const [checkpoint, tree] = await newest(keys, tell);
    const index = Number(panel.dataset.index);
    const entry = await tree.entry(index);
    await verifyInclusion(entry, index, checkpoint, tree.hash);
    tell("included", { index: local(index), hash: hex(await leafHash(entry)) });
    tell("says", {}, text(entry));
  },
  checkpoints: async (panel, keys, tell) => {
    const older = await opened(`${field(panel, "older").value.trim()}\n`, keys, tell);
    const newer = await opened(`${field(panel, "newer").value.trim()}\n`, keys, tell);
    await verifyConsistency(older, newer, treeOf(newer.size, read).hash);
    tell("extends", { older: local(older.size), newer: local(newer.size) });
  },
  receipt: async (panel, keys, tell) => {
    const { claim, checkpoint, entries } = await verifyReceipt(field(panel, "receipt").value, keys);
    tell("signed", { n: local(checkpoint.size), name: checkpoint.origin });
    for (const entry of entries) tell("recorded", { index: local(entry.index), at: local(new Date(entry.at)), type: words[entry.type] });
    tell("whole", { claim });
  },
};

for (const panel of document.querySelectorAll("[data-check]")) {
  const list = panel.querySelector("[data-told]");
  const tell = (code, values = {}, data = "", isBad = false) => {
    const line = list.appendChild(document.createElement("li"));
    line.className = isBad ? "is-bad" : "is-good";
    line.textContent = words[code].replace(/%\((\w+)\)s/g, (_, name) => values[name]);
    if (data) line.appendChild(document.createElement("pre")).textContent = data;
  };
  const run = async () => {
    list.replaceChildren();
    try {
      const keys = await Promise.all(field(panel, "keys").value.trim().split(/\s+/).map(parseKey));
      await ways[panel.dataset.check](panel, keys, tell);
      tell("done");
    } catch (error) {
      tell(error.code in words ? error.code : "damaged", error.values, "", true);
    }
  };
  const take = async ([file]) => {
    if (!file) return;
    field(panel, "receipt").value = await file.text();
    run();
  };
  const button = panel.querySelector("[data-run]");
  button.addEventListener("click", run);
  button.disabled = false; // before, a press would do nothing
  if (field(panel, "file")) {
    field(panel, "file").addEventListener("change", (event) => take(event.target.files));
    panel.addEventListener("dragover", (event) => event.preventDefault());
    panel.addEventListener("drop", (event) => {
      event.preventDefault();
      take(event.dataTransfer.files);
    });
  }
}
