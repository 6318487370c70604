// Applies the chosen appearance before the page is painted: a classic script in the head, not a module.
try {
  const theme = localStorage.getItem("bas.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
