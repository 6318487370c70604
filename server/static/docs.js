// The API's page: it reads /openapi.json, and tries a request with the visitor's own session.

import { below } from "./root.js";

const SHOWN_MAX = 20_000;

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A request of an operation, with the values in the form: its path, and its body or undefined. */
function requestOf(operation, form) {
  let path = operation.path;
  const query = new URLSearchParams();
  for (const parameter of operation.parameters) {
    const value = form.elements[parameter.name].value;
    if (parameter.in === "path") {
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    } else if (value !== "") {
      for (const one of parameter.schema.type === "array" ? value.split(",") : [value]) {
        query.append(parameter.name, one);
      }
    }
  }
  const text = query.toString();
  return { path: text ? `${path}?${text}` : path, body: form.elements.body?.value };
}

/** A text as one word of a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curlOf(operation, { path, body }) {
  const words = ["curl", "-X", operation.method.toUpperCase(), quoted(location.origin + below(path))];
  if (operation.security.length) words.push("-b", "jar");
  if (body) words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(body));
  return words.join(" ");
}

async function tried(operation, { path, body }) {
  const ends = new AbortController();
  const headers = body ? { "Content-Type": "application/json" } : {};
  const method = operation.method.toUpperCase();
  const answer = await fetch(below(path), { method, headers, body, signal: ends.signal });
  if (answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    const { value } = await answer.body.getReader().read();
    ends.abort();
    return `${answer.status}\n${new TextDecoder().decode(value)}…`;
  }
  const text = (await answer.text()).slice(0, SHOWN_MAX);
  const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
  let shown = text;
  try {
    if (isJson) shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // It was cut.
  }
  return `${answer.status} ${answer.statusText}\n${shown}`;
}

function fieldsOf(operation) {
  const fields = operation.parameters.map((parameter) => {
    const label = element("label", `${parameter.name}${parameter.required ? " *" : ""} `);
    const example = parameter.example === undefined ? "" : String(parameter.example);
    label.append(element("input", "", { name: parameter.name, value: example }));
    const field = element("div", "", { class: "field" });
    field.append(label, element("small", parameter.description));
    return field;
  });
  const media = operation.requestBody?.content["application/json"];
  if (media) {
    const label = element("label", "Body ");
    const body = JSON.stringify(media.example, null, 1);
    label.append(element("textarea", body, { name: "body", rows: "6", cols: "60" }));
    fields.push(label);
  }
  return fields;
}

function shownOf(operation) {
  const part = element("details");
  const title = element("summary");
  title.append(element("code", `${operation.method.toUpperCase()} ${operation.path}`));
  title.append(` ${operation.summary}`);
  const form = element("form");
  const answer = element("pre", "", { role: "status" });
  const copy = element("button", "Copy as curl", { type: "button" });
  form.append(...fieldsOf(operation), element("button", "Try", { type: "submit" }), " ", copy);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.textContent = "…";
    try {
      answer.textContent = await tried(operation, requestOf(operation, form));
    } catch (error) {
      answer.textContent = `No answer: ${error.message}`;
    }
  });
  copy.addEventListener("click", async () => {
    const line = curlOf(operation, requestOf(operation, form));
    answer.textContent = line;
    // Only pages over https, or of this machine, may write to the clipboard.
    await navigator.clipboard?.writeText(line).catch(() => undefined);
  });
  const roles = operation.security.flatMap((way) => Object.values(way).flat());
  const needs = roles.length ? ` Needs the role ${roles[0]}.` : "";
  part.append(title, element("p", (operation.description ?? "") + needs), form, answer);
  return part;
}

function operationsOf(openapi) {
  return Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => ({ ...one, path, method })));
}

async function show() {
  const found = document.getElementById("found");
  const answer = await fetch(below("/openapi.json"));
  if (!answer.ok) {
    found.textContent = `The server does not describe its routes now (${answer.status}).`;
    return;
  }
  const shown = operationsOf(await answer.json()).map((operation) => {
    const words = [operation.method, operation.path, operation.summary, operation.description];
    return { text: words.join(" ").toLowerCase(), part: shownOf(operation) };
  });
  document.getElementById("operations").replaceChildren(...shown.map(({ part }) => part));
  const search = document.getElementById("search");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const { text, part } of shown) part.hidden = !words.every((word) => text.includes(word));
    found.textContent = `${shown.filter(({ part }) => !part.hidden).length} routes`;
  };
  search.addEventListener("input", filter);
  filter();
}

show();
