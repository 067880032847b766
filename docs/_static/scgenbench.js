// What the theme leaves to be said to a keyboard and a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  // A table that scrolls sideways can be reached, and then scrolled, by keys.
  for (const table of document.querySelectorAll(".bd-article table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  }
  // The sidebar holds the name of the site beside its lists: a region of its own.
  const sidebar = document.querySelector(".bd-sidebar-primary");
  if (sidebar && !sidebar.hasAttribute("role")) {
    sidebar.setAttribute("role", "region");
    sidebar.setAttribute("aria-label", "Site");
  }
});
