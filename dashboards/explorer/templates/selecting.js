// A file that the server hands over as text becomes a download.
explorer.save = (text) => {
  const { name, content } = JSON.parse(text || "{}");
  if (!name) return;
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([bytes])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
