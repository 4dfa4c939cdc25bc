// Search, copy buttons and the choice of light or dark, without a network. Every page works without this script, too.
(() => {
  const here = document.currentScript.src.replace(/book\.js.*$/, "");
  const make = (name, attributes = {}, text = "") => {
    const element = Object.assign(document.createElement(name), { textContent: text });
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // --- light or dark: what the reader chose last, else what the system prefers
  const root = document.documentElement;
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("fiqa-theme", value);
      return localStorage.getItem("fiqa-theme");
    } catch {
      return value; // a browser that keeps nothing for files
    }
  };
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = remembered() || (dark() ? "dark" : "light");

  // --- search: pages.js has one entry for each section of the book
  let sections = null;
  const load = () => {
    sections ??= new Promise((done) => {
      const script = make("script", { src: here + "pages.js" });
      script.onload = () => done(window.FIQA_PAGES);
      document.head.append(script);
    });
    return sections;
  };
  const found = (all, words) => {
    const rated = [];
    for (const section of all) {
      const head = (section.page + " " + section.title).toLowerCase();
      const text = section.text.toLowerCase();
      if (!words.every((word) => head.includes(word) || text.includes(word))) continue;
      const rank = words.reduce((sum, word) => sum + 5 * head.includes(word) + Math.min(4, text.split(word).length - 1), 0);
      rated.push([rank, section]);
    }
    return rated.sort((a, b) => b[0] - a[0]).slice(0, 20).map((pair) => pair[1]);
  };
  const excerpt = (text, word) => {
    const at = Math.max(0, text.toLowerCase().indexOf(word) - 50);
    return (at ? "… " : "") + text.slice(at, at + 150) + " …";
  };

  addEventListener("DOMContentLoaded", () => {
    const bar = make("div", { class: "tools" });
    const field = make("input", { type: "search", placeholder: "Search the course", "aria-label": "Search the course" });
    const list = make("ul", { class: "found", "aria-live": "polite" });
    const theme = make("button", { type: "button" }, "Light or dark");
    theme.onclick = () => {
      root.dataset.theme = remembered(root.dataset.theme === "dark" ? "light" : "dark");
    };
    bar.append(field, theme, list);
    document.body.prepend(bar);
    field.oninput = async () => {
      const words = field.value.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
      const hits = words.length ? found(await load(), words) : [];
      list.replaceChildren(
        ...hits.map((hit) => {
          const row = make("li");
          row.append(make("a", { href: here + hit.address }, `${hit.page}: ${hit.title}`), make("span", {}, excerpt(hit.text, words[0])));
          return row;
        }),
      );
      if (words.length && !hits.length) list.append(make("li", {}, "Nothing found"));
    };

    // --- a button that copies a cell's code
    for (const block of document.querySelectorAll(".highlight")) {
      const button = make("button", { type: "button", class: "copy" }, "Copy");
      button.onclick = async () => {
        await navigator.clipboard.writeText(block.querySelector("pre").textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1500);
      };
      block.append(button);
    }
  });
})();
