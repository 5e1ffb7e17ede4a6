// What the site does beyond plain forms; everything works without it. Its words come from `data-` attributes.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const one = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const on = (element, kind, act) => element.addEventListener(kind, act);
  const wordsOf = (element) => JSON.parse(element.dataset.words);
  const number = (n) => n.toLocaleString(root.lang);
  const say = ([singular, plural], n, more = {}) =>
    Object.entries({ n: number(n), ...more }).reduce(
      (text, [name, value]) => text.replace(`{${name}}`, value), n === 1 ? singular : plural);
  /** A page of the site, read but not shown. Not by `DOMParser`, which Trusted Types refuse. */
  const read = (address, form) => new Promise((resolve, reject) => {
    const request = Object.assign(new XMLHttpRequest(), { responseType: "document", onerror: reject });
    request.onload = () => (request.response ? resolve(request) : reject());
    request.open(form ? "POST" : "GET", address);
    request.send(form);
  });

  /* The box: a picture that is dropped, pasted, taken or chosen is searched with at once. */

  const box = one("[data-box]");
  if (box) {
    const form = one(".box-picture", box);
    const drop = one("[data-drop]", box);
    const input = one("#picture", box);
    const label = one("[data-drop-words]", drop);
    const problem = one("[data-problem]", box);
    const maxBytes = Number(box.dataset.maxBytes);
    const words = wordsOf(box);

    const refuse = (text, name, size = 0) => {
      const mb = (bytes) => number(Math.floor(bytes / 100000) / 10);
      problem.textContent = say([text, text], 1, { name, size: mb(size), most: mb(maxBytes) });
      problem.hidden = false;
      input.value = "";
    };
    const go = () => {
      const file = input.files[0];
      problem.hidden = true;
      if (!file) return;
      if (file.type && !file.type.startsWith("image/")) return refuse(words.notPicture, file.name);
      if (file.size > maxBytes) return refuse(words.tooLarge, file.name, file.size);
      const preview = one(".drop-preview", drop) || drop.insertBefore(new Image(), drop.firstChild);
      preview.className = "drop-preview";
      preview.alt = "";
      preview.src = URL.createObjectURL(file);
      label.textContent = words.searching;
      window.setTimeout(() => { label.textContent = words.slow; }, 6000);
      drop.classList.add("is-busy");
      // One set of filters is shown, beside the words; they hold for pictures too.
      all("[name=dataset], [data-narrow] [name]", one(".box-words", box)).forEach((from) => {
        const to = one(`[name=${from.name}]`, form);
        if (to) Object.assign(to, { value: from.value, checked: from.checked });
      });
      form.submit();
    };
    const take = (files) => {
      if (!files?.length) return false;
      const first = new DataTransfer();
      first.items.add(files[0]);
      input.files = first.files;
      go();
      return true;
    };

    on(input, "change", go);
    on(one("#camera", box), "change", (event) => take(event.target.files));
    on(document, "paste", (event) => {
      if (take(event.clipboardData?.files)) event.preventDefault();
    });
    on(document, "dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("is-over");
    });
    on(document, "dragleave", ({ relatedTarget }) => drop.classList.toggle("is-over", Boolean(relatedTarget)));
    on(document, "drop", (event) => {
      drop.classList.remove("is-over");
      if (take(event.dataTransfer.files)) event.preventDefault();
    });
    // Back from the results: the page may be the very one that was left, still saying "Searching".
    on(window, "pageshow", () => {
      input.value = "";
      label.textContent = words.drop;
      drop.classList.remove("is-busy");
      all(".drop-preview", drop).forEach((image) => image.remove());
    });
  }

  /* Results: one tick takes all copies of a picture; the tray counts; further pages come in place. */

  const results = one("[data-results]");
  if (results) {
    const words = wordsOf(results);
    const [count, clear, page, keep, submit, site] =
      ["count", "clear", "select-page", "keep", "submit", "select-site"].map((name) => one(`[data-${name}]`, results));
    const cards = () => all("[data-card]", results);
    const sure = () => all("[data-sure] [data-card]", results);
    const whole = (card) => one("[data-take]", card);
    const copies = (card) => all("[data-copy]", card);
    const nTicked = (card) => copies(card).filter((copy) => copy.checked).length || Number(whole(card).checked);
    const show = (card) => {
      const n = copies(card).length || 1;
      whole(card).checked = nTicked(card) === n;
      whole(card).indeterminate = nTicked(card) > 0 && nTicked(card) < n;
    };
    const set = (card, on) => {
      copies(card).forEach((copy) => { copy.checked = on; });
      whole(card).checked = on;
      show(card);
    };

    const tally = () => {
      const here = cards();
      here.forEach((card) => card.classList.toggle("is-part", whole(card).indeterminate));
      const pictures = here.filter(nTicked).length + all(".own input:checked", results).length;
      const samples = here.reduce((n, card) => n + nTicked(card), 0);
      if (samples > pictures) count.textContent = say(words.copies, pictures, { c: number(samples) });
      else count.textContent = pictures ? say(words.ticked, pictures) : words.none;
      clear.hidden = keep.hidden = pictures === 0;
      submit.disabled = pictures === 0;
      page.hidden = sure().every((card) => whole(card).checked);
      all("[data-section]", results).forEach((section) => {
        const button = one("[data-select-all]", section);
        const inside = all("[data-card]", section);
        one(".n", section).textContent = number(inside.length);
        if (!button) return;
        const full = inside.every((card) => whole(card).checked);
        button.textContent = full ? words.clearThese : say(words.selectAll, inside.length);
        button.dataset.full = full ? "yes" : "";
      });
    };
    // The browser fills forms in again when one comes back, but knows nothing of what belongs together.
    const restore = () => {
      cards().forEach((card) => (whole(card).checked ? set(card, true) : show(card)));
      sites();
      tally();
    };

    const sites = () => {
      const counts = new Map();
      cards().forEach(({ dataset: { host } }) => host && counts.set(host, (counts.get(host) || 0) + 1));
      const many = [...counts].filter(([, n]) => n > 1).sort((a, b) => b[1] - a[1]).slice(0, 20);
      site.replaceChildren(site.options[0], ...many.map(([host, n]) => new Option(`${host} (${number(n)})`, host)));
      site.hidden = many.length === 0 || counts.size === 1;
    };

    let last = null;
    on(results, "change", ({ target }) => {
      const card = target.closest("[data-card]");
      if (card && target.matches("[data-take]")) set(card, target.checked);
      else if (card) show(card);
      else if (target === site) {
        cards().filter((each) => each.dataset.host === site.value).forEach((each) => set(each, true));
        site.value = "";
      }
      tally();
    });
    on(results, "click", (event) => {
      const { target } = event;
      if (target.matches("[data-take]")) {
        const [from, to] = [cards().indexOf(last), cards().indexOf(target.closest("[data-card]"))];
        if (event.shiftKey && from >= 0) {
          cards().slice(Math.min(from, to), Math.max(from, to) + 1).forEach((card) => set(card, target.checked));
        }
        last = target.closest("[data-card]");
      } else if (target === page) sure().forEach((card) => set(card, true));
      else if (target === clear) forget();
      else if (target.matches("[data-select-all]")) {
        all("[data-card]", target.closest("[data-section]")).forEach((card) => set(card, !target.dataset.full));
      } else return;
      tally();
    });
    const forget = () => {
      cards().forEach((card) => set(card, false));
      all(".own input", results).forEach((tick) => { tick.checked = false; });
    };

    // Arrow keys go from picture to picture, as they lie.
    on(results, "keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const way = event.target.matches("[data-take]") && ways[event.key];
      if (!way) return;
      event.preventDefault();
      const place = (tick) => tick.getBoundingClientRect();
      const { left, top } = place(event.target);
      const along = (tick) => (place(tick).left - left) * way[0] + (place(tick).top - top) * way[1];
      const aside = (tick) => Math.abs((place(tick).left - left) * way[1]) + Math.abs((place(tick).top - top) * way[0]);
      const ticks = all("[data-take]", results).filter((tick) => along(tick) > 1 && (way[1] || aside(tick) < 2));
      ticks.sort((a, b) => along(a) + 3 * aside(a) - along(b) - 3 * aside(b))[0]?.focus();
    });

    // Put what is ticked into the basket, and stay here.
    on(keep, "click", async () => {
      keep.disabled = true;
      const body = new URLSearchParams(new FormData(results));
      body.delete("seen");
      const answer = await fetch(results.action, { method: "POST", body, headers: { accept: "application/json" } })
        .catch(() => null);
      keep.disabled = false;
      if (!answer?.ok) return submit.click(); // that page says what is wrong
      const { n } = await answer.json();
      one("[data-basket]").hidden = false;
      one("[data-basket-count]").textContent = number(n);
      forget();
      tally();
      count.textContent = say(words.kept, n);
    });

    // Further pages come in place; the address is that of the page one looks at.
    const seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting, boundingClientRect }) => {
      const address = isIntersecting ? target.dataset.page : boundingClientRect.top > 0 && target.dataset.before;
      if (address) window.history.replaceState(null, "", address);
    }));
    let before = window.location.href;
    const bring = async (link) => {
      const { href, parentElement: nav } = link;
      if (nav.hasAttribute("aria-busy")) return;
      nav.setAttribute("aria-busy", "true");
      link.textContent = words.loading;
      const found = await read(href).catch(() => null);
      if (found?.status !== 200) return window.location.assign(href);
      const sections = all("[data-section]", found.response);
      const [first] = all(".cards > li", found.response);
      if (first) {
        Object.assign(first.dataset, { page: href, before });
        seen.observe(first);
      }
      before = href;
      sections.forEach((section) => {
        const known = document.getElementById(one("h2", section).id)?.closest("[data-section]");
        if (known) one(".cards", known).append(...one(".cards", section).children);
        else all("[data-section]", results).at(-1).after(section);
      });
      nav.replaceWith(one(".pages", found.response));
      restore();
      watch();
    };
    let nBrought = 0;
    const near = new IntersectionObserver(([{ target, isIntersecting }]) => {
      if (!isIntersecting || nBrought === 4) return; // then a press brings more: the foot of the page must be in reach
      nBrought += 1;
      near.unobserve(target);
      bring(target);
    }, { rootMargin: "600px" });
    const watch = () => {
      const link = one(".pages [rel=next]", results);
      if (!link) return;
      near.observe(link);
      on(link, "click", (event) => {
        event.preventDefault();
        nBrought = 0;
        bring(link);
      });
    };

    on(window, "pageshow", restore);
    restore();
    watch();
  }

  /* Two pictures, one over the other, with a slider between them. */

  const overlay = (compare) => {
    const slider = one("[type=range]", compare);
    on(slider, "input", () => compare.style.setProperty("--at", `${slider.value}%`));
    on(one("[data-over]", compare), "change", ({ target }) => compare.classList.toggle("is-over", target.checked));
  };
  all("[data-compare]").forEach(overlay);
  const dialog = one("[data-compare-dialog]");
  on(document, "click", (event) => {
    const card = event.target.matches("[data-compare-button]") && event.target.closest("[data-card]");
    if (!card) return;
    event.preventDefault();
    const from = one(".take img", card);
    Object.assign(one("[data-theirs]", dialog), { src: from.src, alt: from.alt });
    one("[data-theirs-words]", dialog).textContent = one(".where", card).textContent;
    one("[data-theirs]", dialog).classList.toggle("is-blurred", Boolean(one(".unveil:not(:checked)", card)));
    dialog.showModal();
  });

  /* A proof is looked for again while its page is open; a receipt is checked in this browser. */

  all("form[data-live]").forEach((form) => {
    let left = 6; // of the twelve looks that an hour allows
    const again = () => window.setTimeout(async () => {
      if (document.hidden) return again();
      left -= 1;
      const { id } = form.closest("section");
      const found = await read(form.action, new FormData(form)).catch(() => null);
      const now = found?.response.getElementById(id);
      if (now && !one("[data-live]", now)) document.getElementById(id).replaceWith(now);
      else if (left) again();
    }, 30000);
    if (form.closest("section").matches(":target")) {
      one("[data-live-words]", form).hidden = false;
      again();
    }
  });
  all("[data-verify]").forEach((button) => on(button, "click", async () => {
    const words = wordsOf(button);
    const said = one("[data-verified]", button.parentElement);
    said.textContent = words.checking;
    try {
      const { parseKey, verifyReceipt } = await import(button.dataset.verify);
      const file = one("input[type=file]", button.parentElement)?.files[0];
      const text = file ? await file.text() : await (await fetch(button.dataset.receipt)).text();
      const { checkpoint, entries } = await verifyReceipt(text, [await parseKey(button.dataset.key)]);
      said.textContent = say(words.right, entries.length, { size: number(checkpoint.size) });
    } catch (error) {
      said.textContent = `${words.wrong} (${error.code || error.name})`;
    }
  }));

  /* A form that must not be sent twice; going back; copying a command. */

  all("form[data-once]").forEach((form) => {
    const button = one("[type=submit]:not([form])", form);
    const words = button.textContent;
    on(form, "submit", () => window.setTimeout(() => {
      button.disabled = true;
      button.textContent = form.dataset.wait || words;
    }));
    on(window, "pageshow", () => Object.assign(button, { disabled: false, textContent: words }));
  });
  all("[data-back]").forEach((link) => on(link, "click", (event) => {
    if (window.history.length < 2) return;
    event.preventDefault();
    window.history.back();
  }));
  all("[data-copy-button]").forEach((button) => {
    const text = one("[data-copy-text]", button.parentElement);
    const words = button.textContent;
    on(button, "click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = button.dataset.done;
      } catch {
        window.getSelection().selectAllChildren(text);
        button.textContent = button.dataset.failed;
      }
      window.setTimeout(() => { button.textContent = words; }, 2000);
    });
  });
})();
