// Notice targets in words and as forms: pure.

export const KINDS = new Map([
  ["webhook", "webhook"],
  ["ntfy", "ntfy"],
  ["email", "e-mail"],
]);
const SEVERITIES = [["warning", "warning and critical"], ["critical", "critical only"], ["info", "all"]];
const DAYS = new Map([
  ["", "always"],
  ["1,2,3,4,5,6,7", "every day, from – to"],
  ["1,2,3,4,5", "Monday to Friday, from – to"],
  ["6,7", "Saturday and Sunday, from – to"],
]);
const NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const TLS = [["starttls", "STARTTLS"], ["tls", "TLS from the first byte on"], ["none", "none"]];
const SECRETS = { webhook: "Key of the signature", ntfy: "Access token", email: "Password" };

function dayWords(days) {
  return days.map((day) => NAMES[day - 1]).join(", ");
}

/** When a target gets notices. */
export function hoursWords(hours) {
  if (hours === null) return "always";
  const all = hours.start === hours.end;
  return dayWords(hours.days) + (all ? ` from ${hours.start}, a whole day` : ` ${hours.start}–${hours.end}`);
}

/** Which notices a target gets. */
export function getsWords({ enabled, severity, hours }) {
  if (!enabled) return "nothing: it is off";
  return `${severity === "critical" ? "critical" : `${severity} and worse`}, ${hoursWords(hours)}`;
}

/** Where its notices go. */
export function addressWords({ url, host, port, recipients }) {
  return url || `${recipients.join(", ")} by ${host}:${port}`;
}

function daysOptions(hours) {
  const key = hours?.days.join(",") ?? "";
  const options = [...DAYS];
  if (!DAYS.has(key)) options.push([key, `${dayWords(hours.days)}, from – to`]);
  return options;
}

function secretFields(kind, target) {
  const label = SECRETS[kind];
  const hint = target?.secret_set ? "Empty keeps the one that it has. It is never shown." : "It is never shown again.";
  const field = { name: "secret", label, type: "password", autocomplete: "new-password", maxlength: "500", hint };
  if (!target?.secret_set) return [field];
  const options = [["", "stays, or is the new one above"], ["remove", "is removed"]];
  return [field, { name: "removal", label: "The one that it has", options }];
}

function addressFields(kind, target) {
  if (kind !== "email") {
    const hint = kind === "ntfy" ? "The server and the topic: https://ntfy.sh/my-topic" : "It gets a POST with JSON.";
    return [{ name: "url", label: "Address", type: "url", required: "", value: target?.url ?? "", hint }];
  }
  return [
    { name: "recipients", label: "Recipients", required: "", value: target?.recipients.join(", ") ?? "",
      hint: "Addresses with commas between them." },
    { name: "sender", label: "Sender", type: "email", required: "", value: target?.sender ?? "" },
    { name: "host", label: "SMTP server", required: "", value: target?.host ?? "" },
    { name: "port", label: "Port", type: "number", min: "1", max: "65535", required: "", value: target?.port ?? 587 },
    { name: "tls", label: "Protection", options: TLS, value: target?.tls ?? "starttls" },
    { name: "username", label: "User name", value: target?.username ?? "" },
  ];
}

/** The fields of a new target of this kind, or of one that is there. */
export function fieldsOf(kind, target = null) {
  const hours = target?.hours ?? null;
  return [
    { name: "name", label: "Name", required: "", maxlength: "64", value: target?.name ?? "" },
    ...addressFields(kind, target),
    ...secretFields(kind, target),
    { name: "severity", label: "Alarms", options: SEVERITIES, value: target?.severity ?? "warning" },
    { name: "days", label: "When", options: daysOptions(hours), value: hours?.days.join(",") ?? "" },
    { name: "start", label: "From", type: "time", value: hours?.start ?? "08:00" },
    { name: "end", label: "To", type: "time", value: hours?.end ?? "18:00",
      hint: "In the site's time zone. A time that is not after the first one is on the next day." },
    { name: "enabled", label: "State", options: [["on", "on"], ["off", "off"]], value: target?.enabled === false ? "off" : "on" },
  ];
}

/** The body of a request from what a person entered. */
export function bodyOf(kind, values) {
  const body = { name: values.name.trim(), kind, severity: values.severity, enabled: values.enabled === "on" };
  const days = values.days === "" ? null : values.days.split(",").map(Number);
  body.hours = days && { days, start: values.start, end: values.end };
  if (values.secret) body.secret = values.secret;
  else if (values.removal === "remove") body.secret = "";
  if (kind !== "email") return { ...body, url: values.url.trim() };
  const recipients = values.recipients.split(",").map((one) => one.trim()).filter(Boolean);
  const { host, sender, tls, username } = values;
  return { ...body, recipients, port: Number(values.port), tls,
    host: host.trim(), sender: sender.trim(), username: username.trim() };
}
