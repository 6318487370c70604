// The title of the tab: the page's name, and before it what a person should see from another tab.

const parts = { alarms: "", before: "", name: document.title };

/** Change a part of the title: `alarms`, `before` or `name`. */
export function titled(change) {
  Object.assign(parts, change);
  const title = parts.alarms + parts.before + parts.name;
  if (document.title !== title) document.title = title;
}
