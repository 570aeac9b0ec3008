"use strict";
// "/" goes to the search field; left and right arrows go to the page before and after, outside of fields and the map.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
  if (event.target.closest("input, select, textarea, canvas, .scroll")) return;
  if (event.key === "/") {
    event.preventDefault();
    const field = document.getElementById("q");
    field.focus();
    field.select();
  }
  const link = { ArrowLeft: "before", ArrowRight: "after" }[event.key];
  const anchor = link && document.getElementById(link);
  if (anchor) anchor.click();
});
