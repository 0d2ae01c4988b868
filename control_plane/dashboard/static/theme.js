// Before anything is drawn: the theme that was chosen the last time, if one was.
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage is forbidden: the system's theme it is */ }
document.documentElement.classList.add("js");
