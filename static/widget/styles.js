/** How the panel looks. The launcher's part, and the tokens that it shares, are in loader.js. */

const css = /* css */ `
  :host {
    --parlance-display: ui-serif, "Iowan Old Style", "Palatino Linotype", Palatino, Charter, Georgia, serif; /* The face of the greeting. */
    --parlance-width: 400px; /* The panel's width on a desk. */
    --parlance-height: 680px; /* The panel's height on a desk, where the window is high enough. */
    --parlance-radius: 22px; /* The roundness of the panel's corners. */
  }
  .root {
    --paper: light-dark(color-mix(in oklab, var(--parlance-accent) 2%, #fff), color-mix(in oklab, var(--parlance-accent) 5%, #17181a));
    --tint: light-dark(color-mix(in oklab, var(--parlance-accent) 11%, #fff), color-mix(in oklab, var(--parlance-accent) 26%, #1d1f22));
    --ink: light-dark(#1f1e1c, #ecebe8);
    --quiet: light-dark(#65625d, #a8a5a0);
    --line: light-dark(#1f1e1c1f, #ecebe826);
    --edge: light-dark(#8d8a85, #7d7a75);
    color: var(--ink);
  }
  :where(.root) * { box-sizing: border-box; margin: 0; padding: 0; border: 0; background: none; font: inherit; color: inherit; letter-spacing: inherit }
  [hidden] { display: none }
  button { cursor: pointer; -webkit-tap-highlight-color: transparent }
  :focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
  .launcher { background: var(--parlance-accent); color: var(--on-accent); padding: 15px; border: 1px solid transparent }
  .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }

  .panel { display: none; overflow: hidden }
  .panel[open] {
    position: fixed;
    inset: auto;
    bottom: calc(var(--parlance-gap) + var(--parlance-launcher) + 14px + env(safe-area-inset-bottom));
    right: calc(var(--parlance-gap) + env(safe-area-inset-right));
    z-index: var(--parlance-layer);
    display: flex;
    flex-direction: column;
    width: min(var(--parlance-width), 100vw - 2 * var(--parlance-gap));
    height: min(var(--parlance-height), 100dvh - 2 * var(--parlance-gap) - var(--parlance-launcher) - 14px);
    max-width: none;
    max-height: none;
    border: 1px solid var(--line);
    border-radius: var(--parlance-radius);
    background: var(--paper);
    color: var(--ink);
    box-shadow: 0 2px 6px #0000000a, 0 24px 64px -16px #00000059;
    animation: rise .28s cubic-bezier(.2, .8, .2, 1);
  }
  .root[data-position=left] .panel[open] { right: auto; left: calc(var(--parlance-gap) + env(safe-area-inset-left)) }
  .panel:focus { outline: 0 }
  .panel::backdrop { display: none }
  @keyframes rise { from { opacity: 0; translate: 0 14px } }

  header { display: flex; align-items: center; gap: 4px; padding: 14px 12px 8px 24px; padding-inline: 24px 12px }
  h2 { overflow: hidden; font-weight: 600; letter-spacing: -.01em; text-overflow: ellipsis; white-space: nowrap }
  .demo { margin-inline: 6px auto; padding: 1px 8px; border: 1px solid var(--edge); border-radius: 9px; color: var(--quiet); font-size: 12px }
  h2:has(+ [hidden]) { margin-inline-end: auto }
  .tool { flex: none; width: 40px; height: 40px; padding: 9px; border-radius: 50%; color: var(--quiet); transition: background .15s }
  .tool:hover { background: var(--line); color: var(--ink) }

  .transcript { position: relative; flex: 1; min-height: 0 }
  .scroller { position: relative; height: 100%; overflow: hidden auto; padding: 8px 24px 24px; overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--line) transparent }
  .scroller:focus-visible { outline-offset: -2px; border-radius: 8px }
  .welcome { margin: 28px 0; font: 500 29px/1.22 var(--parlance-display); letter-spacing: -.015em; text-wrap: balance }
  .suggestions { list-style: none; border-bottom: 1px solid var(--line) }
  .suggestions button { display: flex; gap: 12px; justify-content: space-between; width: 100%; min-height: 48px; padding: 12px 2px; border-top: 1px solid var(--line); text-align: start; transition: padding .2s }
  .suggestions button::after { content: "→"; color: var(--link) }
  .root[dir=rtl] .suggestions button::after { content: "←" }
  .suggestions button:hover { padding-inline: 8px; color: var(--link) }
  .root[data-empty=false] .greeting .suggestions { display: none }
  .root[data-empty=false] .welcome { margin: 4px 0 20px; font-size: 20px; color: var(--quiet) }

  .list { display: grid; gap: 22px }
  .row { min-width: 0; overflow-wrap: anywhere }
  .visitor { justify-self: end; max-width: 86% }
  .visitor .prose { padding: 9px 16px; border-radius: 20px; border-end-end-radius: 5px; background: var(--tint); white-space: pre-wrap }
  .visitor .extras { text-align: end }
  .visitor[data-state=failed] .prose { opacity: .7 }
  .notice { padding-inline-start: 14px; border-inline-start: 2px solid var(--parlance-accent); color: var(--quiet); font-size: 15px }

  .prose > * + * { margin-top: .7em !important }
  .prose p { white-space: pre-line }
  .prose h3, strong, th { font-weight: 650 }
  em { font-style: italic }
  sup { font-size: .75em; line-height: 0 }
  del { text-decoration: line-through }
  a { color: var(--link); text-decoration: underline; text-decoration-thickness: 1px; text-underline-offset: 3px }
  a:hover { text-decoration-thickness: 2px }
  .scroller :is(ul, ol):not([class]) { padding-inline-start: 1.35em }
  .prose li { white-space: pre-line }
  .prose li + li, .prose li > * + * { margin-top: .3em }
  li::marker { color: var(--quiet) }
  .prose blockquote { padding-inline-start: 14px; border-inline-start: 2px solid var(--line); color: var(--quiet) }
  hr { border-top: 1px solid var(--line) }
  .prose code { padding: .1em .35em; border-radius: 5px; background: var(--tint); font: .88em ui-monospace, Menlo, Consolas, monospace }
  .wide { overflow-x: auto }
  .wide pre { min-width: max-content; padding: 12px 14px; border-radius: 10px; background: var(--tint) }
  .wide code { padding: 0; background: none; white-space: pre }
  table { border-collapse: collapse; font-size: .94em }
  :is(td, th) { padding: 6px 14px 6px 0; padding-inline: 0 14px; border-bottom: 1px solid var(--line); text-align: start; vertical-align: top; overflow-wrap: normal }
  .assistant[data-state=streaming] .prose > p:last-child::after { content: ""; display: inline-block; width: 8px; height: 8px; margin-inline-start: 5px; border-radius: 50%; background: var(--parlance-accent); animation: breathe 1.2s infinite alternate ease-in-out }
  @keyframes breathe { from { opacity: .25; scale: .8 } }

  .extras > * { margin-top: 8px }
  .busy { display: flex; align-items: center; gap: 10px; min-height: 25px; color: var(--quiet); font-size: 15px }
  .busy::before { content: ""; flex: none; width: 10px; height: 10px; border-radius: 50%; background: var(--parlance-accent); animation: breathe .9s infinite alternate ease-in-out }
  :is(.aside, .below) { color: var(--quiet); font-size: 14px }
  .done::before { content: "✓ " }
  .failed::before { content: "– " }
  .below { padding-top: 8px; border-top: 1px solid var(--line) }
  .below li { padding: 3px 0 }
  .link { min-height: 24px; color: var(--link); font-weight: 600; text-decoration: underline; text-underline-offset: 3px }
  .latest { position: absolute; bottom: 8px; inset-inline-end: 16px; width: 40px; height: 40px; padding: 9px; border: 1px solid var(--line); border-radius: 50%; background: var(--paper); box-shadow: 0 4px 14px -4px #0005 }

  .status { padding: 0 24px; color: var(--quiet); font-size: 14px }
  .status > * { padding: 10px 0 }
  .late { animation: late .2s .5s backwards }
  @keyframes late { from { opacity: 0 } }
  .note { border-top: 1px solid var(--line); color: var(--ink) }
  .wait { color: var(--quiet); font-variant-numeric: tabular-nums }

  .composer { display: flex; align-items: end; gap: 8px; margin: 4px 16px 16px; padding: 5px; padding-inline-start: 18px; border: 1px solid var(--edge); border-radius: 26px; transition: border-color .15s, box-shadow .15s }
  .composer:has(textarea:focus) { border-color: var(--link); box-shadow: 0 0 0 1px var(--link) }
  textarea { flex: 1; min-width: 0; padding: 8px 0; font-size: 16px; line-height: 24px; resize: none; scrollbar-width: thin }
  textarea:focus-visible { outline: 0 }
  textarea::placeholder { color: var(--quiet); opacity: 1 }
  .send { flex: none; width: 40px; height: 40px; padding: 8px; border: 1px solid transparent; border-radius: 50%; background: var(--parlance-accent); color: var(--on-accent) }
  .stop svg { fill: currentColor }
  .send[aria-disabled=true] { opacity: .4; cursor: default }

  @media (max-width: 520px) {
    .panel[open] {
      top: var(--above, 0);
      bottom: auto;
      left: 0 !important;
      right: 0 !important;
      width: 100%;
      height: var(--seen, 100dvh);
      padding: env(safe-area-inset-top) env(safe-area-inset-right) env(safe-area-inset-bottom) env(safe-area-inset-left);
      border: 0;
      border-radius: 0;
    }
    .launcher[aria-expanded=true] { display: none }
  }
  @media (pointer: coarse) { :is(.tool, .send, .latest) { width: 44px; height: 44px; padding: 10px } .link { min-height: 44px } }
  @media (prefers-reduced-motion: reduce) { *, ::before, ::after { animation: none !important; transition: none !important } }
  @media (forced-colors: active) { :is(.launcher, .send, .visitor .prose) { border: 1px solid } .busy::before { background: CanvasText } }
`;

export const styles = new CSSStyleSheet();
styles.replaceSync(css);
