// Dialogs: a question, a form, a secret that is shown once. Escape closes each of them.

import { element, say } from "./elements.js";
import { generate } from "./vendor/lean-qr.nano.js";

let count = 0;

function opened(title, children) {
  count += 1;
  const id = `dialog-${count}`;
  const dialog = element("dialog", "", { class: "panel", "aria-labelledby": id }, [
    element("h2", title, { id }),
    ...children,
  ]);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal(); // the browser gives the focus back when it closes
  return dialog;
}

function buttonOf(words, kind, type = "button") {
  return element("button", words, { type, class: kind });
}

/** Ask before something that is hard to undo; resolves to whether the answer was yes. */
export function confirmed(title, words, yes, kind = "danger") {
  return new Promise((resolve) => {
    const [no, go] = [buttonOf("Cancel", ""), buttonOf(yes, kind)];
    const dialog = opened(title, [
      element("p", words),
      element("div", "", { class: "actions" }, [no, go]),
    ]);
    no.addEventListener("click", () => dialog.close());
    go.addEventListener("click", () => {
      resolve(true);
      dialog.close();
    });
    dialog.addEventListener("close", () => resolve(false));
    no.focus();
  });
}

/** A label with its input, or with a choice of `options`; other attributes are the input's. */
export function fieldOf({ name, label, hint, options, value = "", ...attributes }) {
  const id = `field-${name}`;
  const hintId = hint ? `${id}-hint` : null;
  const own = { id, name, "aria-describedby": hintId, autocomplete: "off", ...attributes };
  const input = options
    ? element("select", "", own, options.map(([key, words]) => element("option", words, { value: key })))
    : element("input", "", own);
  if (value !== "") input.value = value;
  const parts = [element("label", label, { for: id }), input];
  if (hint) parts.push(element("p", hint, { id: hintId, class: "hint" }));
  return element("div", "", { class: "field" }, parts);
}

/**
 * Ask for values; `submit(values)` is called with them, and an Error that it throws is shown. It
 * resolves to what `submit` returned, or to null if the person gave up before. A submit that runs is not
 * given up, not even by Escape: the server may have made a key by then. `before` are elements above the fields.
 */
export function formDialog(title, fields, yes, submit, before = []) {
  return new Promise((resolve) => {
    const message = element("p", "", { class: "message", role: "alert" });
    const [no, go] = [buttonOf("Cancel", ""), buttonOf(yes, "primary", "submit")];
    const form = element("form", "", {}, [
      ...before,
      ...fields.map(fieldOf),
      message,
      element("div", "", { class: "actions" }, [no, go]),
    ]);
    const dialog = opened(title, [form]);
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      if (!go.disabled) resolve(null);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go.disabled) return;
      no.disabled = go.disabled = true;
      try {
        resolve(await submit(Object.fromEntries(new FormData(form))));
        dialog.close();
      } catch (error) {
        say(message, error.message, "error");
        if (!dialog.open) resolve(null);
      }
      no.disabled = go.disabled = false;
    });
  });
}

/** Copy a text, and say in `message` whether that was possible. */
export async function copied(text, message) {
  try {
    // Only pages over https, or of this machine, may write to the clipboard.
    await navigator.clipboard.writeText(text);
    say(message, "Copied.", "success");
  } catch {
    say(message, "This browser does not let the page copy: mark the text and copy it.", "warn");
  }
}

/**
 * Show what the server shows only now, with a QR code of `code`, and perhaps a line that uses it;
 * resolves when it is closed.
 */
export function secretDialog(title, words, secret, code = secret, line = "") {
  return new Promise((resolve) => {
    const canvas = element("canvas", "", { class: "code", role: "img", "aria-label": "QR code of it" });
    const message = element("p", "", { class: "message", role: "status" });
    const [copy, done] = [buttonOf("Copy", ""), buttonOf("I have kept it", "primary")];
    const dialog = opened(title, [
      element("p", words),
      element("code", secret, { class: "secret", tabindex: "0" }),
      canvas,
      ...(line ? [element("p", "A reading to try it, for a shell:", { class: "hint" }),
        element("code", line, { class: "secret line", tabindex: "0" })] : []),
      message,
      element("div", "", { class: "actions" }, [copy, done]),
    ]);
    generate(code).toCanvas(canvas);
    copy.addEventListener("click", () => copied(secret, message));
    done.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", resolve);
    done.focus();
  });
}
