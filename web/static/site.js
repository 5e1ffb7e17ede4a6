// What the site does beyond plain forms: drop or paste a picture, select many, count, copy. Everything works without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const one = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

  /* The box: a picture that is dropped, pasted or chosen is searched with at once. */

  const box = one("[data-box]");
  if (box) {
    const form = one(".box-picture", box);
    const drop = one("[data-drop]", box);
    const input = one("#picture", box);
    const label = one("[data-drop-words]", drop);
    const problem = one("[data-problem]", box);
    const maxBytes = Number(box.dataset.maxBytes);
    const words = label.textContent;
    let depth = 0;

    const refuse = (text) => {
      problem.textContent = text;
      problem.hidden = false;
      input.value = "";
    };

    const go = () => {
      const file = input.files[0];
      problem.hidden = true;
      if (!file) return;
      if (file.type && !file.type.startsWith("image/")) {
        refuse(`“${file.name}” is not a picture. Choose a JPEG, PNG, WebP, GIF, HEIC or AVIF file.`);
        return;
      }
      if (file.size > maxBytes) {
        const mb = (bytes) => Math.floor(bytes / 100000) / 10;
        refuse(`“${file.name}” is ${mb(file.size)} MB. The limit is ${mb(maxBytes)} MB: a smaller copy finds the same.`);
        return;
      }
      const preview = one(".drop-preview", drop) || drop.insertBefore(new Image(), drop.firstChild);
      preview.className = "drop-preview";
      preview.alt = "";
      preview.src = URL.createObjectURL(file);
      label.textContent = "Searching…";
      drop.classList.add("is-busy");
      // One set of filters is shown, beside the words; they hold for pictures too.
      all("[name=dataset], [data-narrow] [name]", one(".box-words", box)).forEach((from) => {
        const to = one(`[name=${from.name}]`, form);
        if (!to) return;
        to.value = from.value;
        to.checked = from.checked;
      });
      form.submit();
    };

    const take = (files) => {
      if (!files || files.length === 0) return false;
      const one = new DataTransfer();
      one.items.add(files[0]);
      input.files = one.files;
      go();
      return true;
    };

    input.addEventListener("change", go);
    document.addEventListener("paste", (event) => {
      if (event.clipboardData && take(event.clipboardData.files)) event.preventDefault();
    });
    document.addEventListener("dragenter", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      depth += 1;
      drop.classList.add("is-over");
    });
    document.addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      if (depth === 0) drop.classList.remove("is-over");
    });
    document.addEventListener("dragover", (event) => {
      if ([...event.dataTransfer.types].includes("Files")) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      depth = 0;
      drop.classList.remove("is-over");
      if ([...event.dataTransfer.types].includes("Files")) {
        event.preventDefault();
        take(event.dataTransfer.files);
      }
    });
    // Back from the results: the page may be the very one that was left, still saying "Searching".
    window.addEventListener("pageshow", () => {
      input.value = "";
      label.textContent = words;
      drop.classList.remove("is-busy");
      all(".drop-preview", drop).forEach((image) => image.remove());
    });
  }

  /* Ticks outlive turning pages and loading again, in this tab. Those of other pages go along as hidden fields. */

  const keptTicks = (results, cards) => {
    const asked = new URLSearchParams(window.location.search);
    const isPaged = asked.has("q"); // the answer to a picture has one page, and no address
    const key = `ticked ${asked.get("q")} ${asked.get("dataset") || ""}`;
    const place = asked.get("cursor") || "";
    const boxes = cards.flatMap((card) => all("[name=pick]", card));
    const generations = new Map(boxes.flatMap((box) => box.value.split(";")).map((part) => part.split(/[@:]/)));
    const isCurrent = (pick) => pick.split(";").every((part) => {
      const [dataset, generation] = part.split(/[@:]/);
      return !generations.has(dataset) || generations.get(dataset) === generation;
    });

    // A browser may forbid storage, or have none left: ticks are then this page's alone.
    const load = () => {
      try {
        return (isPaged && JSON.parse(window.sessionStorage.getItem(key))) || {};
      } catch {
        return {};
      }
    };
    const store = (pages) => {
      try {
        if (isPaged) window.sessionStorage.setItem(key, JSON.stringify(pages));
      } catch {
        // as above
      }
    };
    const others = () => Object.entries(load()).filter(([at, page]) => at !== place && page.picks.every(isCurrent));
    const carry = () => {
      all("[data-carried]", results).forEach((field) => field.remove());
      others().flatMap(([, page]) => page.picks).forEach((pick) => {
        const field = document.createElement("input");
        Object.assign(field, { type: "hidden", name: "pick", value: pick });
        field.dataset.carried = "";
        results.append(field);
      });
    };
    return {
      elsewhere: () => others().reduce((n, [, page]) => n + page.pictures, 0),
      save: (pictures) => {
        const pages = Object.fromEntries(others());
        const picks = boxes.filter((box) => box.checked).map((box) => box.value);
        if (picks.length) pages[place] = { picks, pictures };
        store(pages);
      },
      clear: () => {
        store({});
        carry();
      },
      restore: () => {
        const mine = load()[place];
        if (mine) boxes.forEach((box) => { box.checked ||= mine.picks.includes(box.value); });
        cards.forEach((card) => {
          const copies = all("[data-copy]", card);
          const n = copies.filter((copy) => copy.checked).length;
          if (copies.length) one("[data-take]", card).indeterminate = n > 0 && n < copies.length;
        });
        carry();
      },
    };
  };

  /* Results: one tick takes all copies of a picture; the tray counts. */

  const results = one("[data-results]");
  if (results) {
    const count = one("[data-count]", results);
    const clear = one("[data-clear]", results);
    const page = one("[data-select-page]", results);
    const submit = one("[data-tray] [type=submit]", results);
    const cards = all("[data-card]", results);
    const sure = all("[data-sure] [data-card]", results);
    const kept = keptTicks(results, cards);
    const parts = (card) => ({ whole: one("[data-take]", card), copies: all("[data-copy]", card) });

    const set = (card, on) => {
      const { whole, copies } = parts(card);
      whole.checked = on;
      whole.indeterminate = false;
      copies.forEach((copy) => { copy.checked = on; });
    };

    const tally = () => {
      let pictures = 0;
      let samples = 0;
      cards.forEach((card) => {
        const { whole, copies } = parts(card);
        const ticked = copies.length ? copies.filter((copy) => copy.checked).length : Number(whole.checked);
        card.classList.toggle("is-part", ticked > 0 && !whole.checked);
        pictures += ticked > 0 ? 1 : 0;
        samples += ticked;
      });
      const extra = all(".own input:checked", results).length;
      const found = samples === pictures ? "" : `, ${samples} copies`;
      const other = kept.elsewhere();
      kept.save(pictures);
      const here = pictures + extra ? `${plural(pictures + extra, "picture")}${found} ticked` : "";
      const there = other ? `${plural(other, "picture")} ticked on other pages` : "";
      count.textContent = [here, there].filter(Boolean).join(", ") || "Tick what is yours";
      clear.hidden = pictures + extra + other === 0;
      page.hidden = sure.every((card) => parts(card).whole.checked);
      submit.disabled = pictures + extra + other === 0;
      all("[data-section]", results).forEach((section) => {
        const button = one("[data-select-all]", section);
        if (!button) return;
        const inside = all("[data-card]", section);
        const full = inside.every((card) => parts(card).whole.checked);
        button.textContent = full ? "Clear these" : inside.length === 1 ? "Select it" : `Select all ${inside.length}`;
        button.dataset.full = full ? "yes" : "";
      });
    };

    results.addEventListener("change", (event) => {
      const card = event.target.closest("[data-card]");
      if (card && event.target.matches("[data-take]")) set(card, event.target.checked);
      if (card && event.target.matches("[data-copy]")) {
        const { whole, copies } = parts(card);
        const ticked = copies.filter((copy) => copy.checked).length;
        whole.checked = ticked === copies.length;
        whole.indeterminate = ticked > 0 && ticked < copies.length;
      }
      tally();
    });
    results.addEventListener("click", (event) => {
      if (event.target.matches("[data-select-page]")) sure.forEach((card) => set(card, true));
      else if (event.target.matches("[data-clear]")) {
        kept.clear();
        cards.forEach((card) => set(card, false));
        all(".own input", results).forEach((box) => { box.checked = false; });
      } else if (event.target.matches("[data-select-all]")) {
        const on = event.target.dataset.full !== "yes";
        all("[data-card]", event.target.closest("[data-section]")).forEach((card) => set(card, on));
      } else return;
      tally();
    });
    window.addEventListener("pageshow", () => {
      kept.restore();
      cards.forEach((card) => {
        const { whole, copies } = parts(card);
        if (whole.checked) copies.forEach((copy) => { copy.checked = true; });
      });
      tally();
    });
    kept.restore();
    tally();
  }
  if (/^\/claims\/.*\/done$/.test(window.location.pathname)) {
    try {
      window.sessionStorage.clear();
    } catch {
      // then nothing was kept
    }
  }

  /* A form that must not be sent twice; going back; copying a command. */

  all("form[data-once]").forEach((form) => {
    form.addEventListener("submit", () => {
      const button = one("[type=submit]", form);
      window.setTimeout(() => { button.disabled = true; }, 0);
    });
    window.addEventListener("pageshow", () => { one("[type=submit]", form).disabled = false; });
  });
  all("[data-back]").forEach((link) => {
    link.addEventListener("click", (event) => {
      if (window.history.length > 1) {
        event.preventDefault();
        window.history.back();
      }
    });
  });
  all("[data-copy-button]").forEach((button) => {
    button.addEventListener("click", async () => {
      const text = one("[data-copy-text]", button.parentElement).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(one("[data-copy-text]", button.parentElement));
        button.textContent = "Press Ctrl+C";
      }
      window.setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  });
})();
