// A slide higher than the screen is made smaller, as far as it can be read from the last row; the rest of it is scrolled.
const SMALLEST = 70; // percent

function fit() {
  const slide = Reveal.getCurrentSlide();
  slide.scrollTop = 0;
  for (let percent = 100; percent >= SMALLEST; percent -= 5) {
    slide.style.zoom = `${percent}%`;
    if (slide.scrollHeight <= slide.clientHeight + 1) return;
  }
}

function forward() {
  const slide = Reveal.getCurrentSlide();
  const before = slide.scrollTop;
  slide.scrollTop += 0.8 * slide.clientHeight;
  if (slide.scrollTop === before) Reveal.next();
}

const SPACE = 32, PAGE_DOWN = 34, ARROW_DOWN = 40; // PAGE_DOWN is what a presenter's remote control sends
Reveal.configure({
  keyboard: {
    [SPACE]: event => event.shiftKey ? Reveal.prev() : forward(),
    [PAGE_DOWN]: forward,
    [ARROW_DOWN]: forward,
  },
});
Reveal.on("ready", fit);
Reveal.on("slidechanged", fit);
window.addEventListener("load", fit); // only now are the heights of figures known
