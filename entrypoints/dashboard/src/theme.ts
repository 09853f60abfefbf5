// Sets the chosen theme before the style loads, so that nothing flashes.
try {
  const theme = localStorage.getItem("pp.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the theme of the system is used.
}
