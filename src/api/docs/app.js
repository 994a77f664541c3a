// Shows /openapi.json for people. Everything is put into the page as text, never as HTML.
import { FORMS, LANGUAGES, formsOf, keyOf, resolve, samples, variant } from "./samples.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const byId = (id) => document.getElementById(id);

// An element with attributes and children.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// The little Markdown that descriptions use: **strong**, *emphasis*, `code`.
function inline(text) {
  return (text ?? "").split(/(\*\*[^*]+\*\*|\*[^*\s][^*]*\*|`[^`]+`)/).filter(Boolean).map((part) => {
    if (part.startsWith("**")) return make("strong", {}, inline(part.slice(2, -2)));
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("*") && part.length > 2) return make("em", {}, part.slice(1, -1));
    return document.createTextNode(part);
  });
}

function paragraphs(text, className) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((part) => make("p", { class: className }, inline(part)));
}

// What is remembered of a reader; a browser may forbid it.
const memory = {
  get: (key) => { try { return localStorage.getItem(`kurir-docs-${key}`); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(`kurir-docs-${key}`, value); } catch { /* not remembered */ } },
};

let api;
let language = LANGUAGES.includes(memory.get("language")) ? memory.get("language") : LANGUAGES[0];
let dialect = "";
let shownCalls = new AbortController();

function kindOf(schema) {
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return several.map((one) => kindOf(resolve(api, one))).filter((kind) => kind !== "null").join(" or ");
  const kinds = [schema.type].flat().filter((kind) => kind && kind !== "null");
  const kind = kinds[0] === "array" ? `list of ${kindOf(resolve(api, schema.items ?? {}))}` : kinds.join(" or ") || "anything";
  return schema.format && !["int32", "int64", "double"].includes(schema.format) ? `${kind} (${schema.format})` : kind;
}

function limitsOf(schema) {
  const limits = [];
  if (schema.enum) limits.push(`one of ${schema.enum.filter((one) => one !== null).map((one) => `\`${one}\``).join(", ")}`);
  if (schema.default !== undefined) limits.push(`\`${JSON.stringify(schema.default)}\` unless given`);
  if (schema.maxLength !== undefined) limits.push(schema.maxLength ? `at most ${schema.maxLength.toLocaleString("en")} characters` : "empty");
  if (schema.minimum !== undefined && schema.maximum !== undefined) limits.push(`${schema.minimum} to ${schema.maximum}`);
  else if (schema.minimum) limits.push(`at least ${schema.minimum}`);
  if (schema.minItems !== undefined || schema.maxItems !== undefined) limits.push(`${schema.minItems ?? 0} to ${schema.maxItems ?? "any number of"} items`);
  return limits.join(" · ");
}

// One parameter or field, with its own fields below it.
function field(name, schema, about, needed, example, depth = 0) {
  const known = resolve(api, schema) ?? {};
  const limits = limitsOf(known);
  const below = depth < 4 ? fieldsOf(known, depth + 1) : null;
  return make("div", {},
    make("dt", {}, name, " ", make("span", { class: "kind" }, kindOf(known)), needed ? make("span", { class: "needed" }, " required") : null),
    make("dd", {}, inline(about ?? schema.description ?? known.description),
      limits ? make("div", { class: "limits" }, inline(limits)) : null,
      example !== undefined && typeof example !== "object" ? make("div", { class: "limits" }, "for example ", make("code", {}, String(example))) : null,
      below));
}

// The fields of an object, of a list's items, or of each of several shapes.
function fieldsOf(schema, depth = 0) {
  const known = resolve(api, schema) ?? {};
  if (known.properties) {
    const rows = Object.entries(known.properties).map(([name, property]) =>
      field(name, property, property.description, known.required?.includes(name), property.example, depth));
    return make("dl", { class: "fields" }, rows);
  }
  if (known.items) return fieldsOf(known.items, depth);
  const several = (known.oneOf ?? known.anyOf)?.map((one) => resolve(api, one)).filter((one) => one.properties || one.items || one.oneOf);
  if (!several?.length) return null;
  if (several.length === 1) return fieldsOf(several[0], depth);
  return make("div", {}, several.map((one) =>
    make("div", {}, make("p", { class: "limits" }, inline(one.description ?? "Or:")), fieldsOf(one, depth))));
}

function codeBlock(text, label) {
  const code = make("pre", { tabindex: "0", "aria-label": label }, make("code", {}, text));
  const copy = make("button", { type: "button", class: "copy", onclick: async () => {
    try { await navigator.clipboard.writeText(text); }
    catch {
      // Without HTTPS a browser gives no clipboard to a page; the text is selected instead.
      getSelection().selectAllChildren(code);
      return;
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return make("div", { class: "code" }, copy, code);
}

// Code samples with a tab for each language; the choice holds for the whole page.
function sampleBlock(path, method, tag, operation) {
  const forms = formsOf(operation);
  let form = forms[0];
  const shown = make("div", { role: "tabpanel" });
  const draw = () => {
    const made = samples(api, path, method, { tag, form, base: location.origin });
    for (const tab of tabs.querySelectorAll("[role=tab]")) {
      const chosen = tab.textContent === language;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
    }
    shown.replaceChildren(codeBlock(made[language], `${language} sample`));
  };
  const choose = (chosen) => {
    language = chosen;
    memory.set("language", language);
    document.dispatchEvent(new Event("language"));
  };
  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": "Language", onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || event.target.role !== "tab") return;
    event.preventDefault();
    choose(LANGUAGES[(LANGUAGES.indexOf(language) + step + LANGUAGES.length) % LANGUAGES.length]);
    tabs.querySelector("[aria-selected=true]").focus();
  } }, LANGUAGES.map((name) => make("button", { type: "button", role: "tab", onclick: () => choose(name) }, name)));
  if (forms.length > 1) {
    tabs.append(make("select", { "aria-label": "Form of the body", onchange: (event) => { form = event.target.value; draw(); } },
      forms.map((one) => make("option", { value: one }, FORMS[one] ?? one))));
  }
  // Those of calls that are no longer shown end with them.
  document.addEventListener("language", draw, { signal: shownCalls.signal });
  draw();
  return make("div", {}, make("h3", {}, "Sample"), tabs, shown);
}

function answerBlock(operation, tag) {
  return make("div", {}, make("h3", {}, "Answers"), Object.entries(operation.responses).map(([status, answer]) => {
    const [type, content] = Object.entries(answer.content ?? {})[0] ?? [];
    const good = status.startsWith("2");
    const example = content?.example ?? content?.examples?.[tag]?.value;
    const schema = content ? variant(operation, tag, resolve(api, content.schema)) : null;
    const text = type === "application/json" ? JSON.stringify(example, null, 2) : null;
    return make("details", { class: "answer", open: good },
      make("summary", {}, make("code", { class: good ? "ok" : "fail" }, status), " ", inline(answer.description)),
      type && type !== "application/json" ? make("p", { class: "limits" }, inline(`\`${type}\``)) : null,
      text ? codeBlock(text, `Example of ${status}`) : null,
      schema && good ? fieldsOf(schema) : null);
  }));
}

function keyLine(operation, tag) {
  const key = keyOf(api, operation, tag);
  if (!key) return make("p", { class: "limits" }, "No key is needed.");
  return make("p", {}, make("strong", {}, "Key: "), inline(key.description));
}

// What a call shows once it is opened.
function inside(path, method, tag, operation) {
  const left = make("div", {}, paragraphs(operation.description), keyLine(operation, tag));
  const parameters = operation.parameters ?? [];
  if (parameters.length) {
    left.append(make("h3", {}, "Parameters"), make("dl", { class: "fields" }, parameters.map((one) =>
      field(`${one.name}${one.in === "query" ? "" : ` (${one.in})`}`, one.schema, one.description, one.required, one.example))));
  }
  const forms = formsOf(operation);
  if (forms.length) {
    const schema = variant(operation, tag, resolve(api, operation.requestBody.content[forms[0]].schema));
    left.append(make("h3", {}, `Body: ${forms.map((one) => FORMS[one] ?? one).join(", ")}`), fieldsOf(schema) ?? "");
  }
  const right = make("div", {}, sampleBlock(path, method, tag, operation), answerBlock(operation, tag));
  return make("div", { class: "inside" }, left, right);
}

function callBlock({ path, method, tag, operation }, id) {
  const call = make("details", { class: "call", id },
    make("summary", {},
      make("span", { class: `method ${method}` }, method.toUpperCase()),
      make("span", { class: "path" }, path),
      make("span", { class: "title" }, operation.summary ?? "")));
  call.addEventListener("toggle", () => {
    // Built when it is first opened: the whole page at once is slow on an old phone.
    if (call.open && call.children.length === 1) call.append(inside(path, method, tag, operation));
  });
  return call;
}

function draw() {
  shownCalls.abort();
  shownCalls = new AbortController();
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const index = [];
  const sections = [];
  let count = 0;
  for (const { name, description } of api.tags) {
    if (dialect && dialect !== name) continue;
    const calls = callsOf(name).filter(({ path, method, operation }) => {
      const text = `${method} ${path} ${operation.summary} ${operation.description ?? ""} ${name}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    if (!calls.length) continue;
    count += calls.length;
    const blocks = calls.map((call) => callBlock(call, idOf(call)));
    sections.push(make("section", { "aria-labelledby": `dialect-${name}` },
      make("h2", { id: `dialect-${name}` }, name), make("p", { class: "about" }, inline(description)), blocks));
    index.push(make("h2", {}, name), make("ul", {}, calls.map((call) =>
      make("li", {}, make("a", { href: `#${idOf(call)}` }, call.operation.summary || call.path)))));
  }
  byId("index").replaceChildren(...index);
  const intro = words.length || dialect ? null : make("div", { class: "intro" }, paragraphs(api.info.description),
    make("p", {}, "For programs: ", make("a", { href: "/openapi.json" }, "/openapi.json"), ", OpenAPI 3.1."));
  const state = make("p", { id: "state", role: "status", class: "limits" }, count ? `${count} calls` : "No call fits.");
  byId("calls").replaceChildren(...[intro, state, ...sections].filter(Boolean));
  openNamed();
}

function callsOf(tag) {
  const found = [];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation?.tags.includes(tag)) found.push({ path, method, tag, operation });
    }
  }
  return found;
}

function idOf({ operation, tag }) {
  return operation.tags.length > 1 ? `${operation.operationId}-${tag}` : operation.operationId;
}

// Opens the call that the address names.
function openNamed() {
  const named = location.hash.length > 1 ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  if (named?.matches("details.call")) {
    named.open = true;
    named.scrollIntoView();
  }
}

function chips() {
  const choose = (name) => {
    dialect = name;
    for (const chip of byId("dialects").children) chip.setAttribute("aria-pressed", chip.dataset.name === name);
    draw();
  };
  byId("dialects").replaceChildren(...["", ...api.tags.map((tag) => tag.name)].map((name) =>
    make("button", { type: "button", "data-name": name, "aria-pressed": String(name === dialect), onclick: () => choose(name) }, name || "All")));
}

function theme() {
  const root = document.documentElement;
  const kept = memory.get("theme");
  if (kept) root.dataset.theme = kept;
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    memory.set("theme", root.dataset.theme);
  });
}

async function start() {
  theme();
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`the box answered ${response.status}`);
    api = await response.json();
  } catch (error) {
    byId("state").textContent = `The description could not be loaded: ${error.message}. Reload the page.`;
    return;
  }
  byId("version").textContent = api.info.version;
  chips();
  draw();
  let waiting;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 120);
  });
  addEventListener("hashchange", openNamed);
  addEventListener("keydown", (event) => {
    const writing = event.target.matches?.("input, textarea, select");
    if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "Escape" && event.target === byId("search")) {
      byId("search").value = "";
      draw();
    }
  });
}

start();
