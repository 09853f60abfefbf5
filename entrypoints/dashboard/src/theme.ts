// Sets the chosen theme before the style loads, so that nothing flashes.
try {
  const theme = localStorage.getItem("pp.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the theme of the system is used.
}

// While two versions serve, the page may be of one, and an API of the other has none of its scripts.
addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLScriptElement && target.src.startsWith(location.origin))) return; // or one of an extension
    document.body.append("This page couldn’t be loaded. During an upgrade of the service, reload it after a minute.");
  },
  true,
);
