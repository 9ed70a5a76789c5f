// A list that grows at both ends and keeps the reader's position: a reader at the bottom stays at the bottom; elsewhere the
// first visible row stays in place, whatever is added, removed or resized above it.
import { Component, createRef, html } from "../ui.js";

/** Within this many pixels, the reader counts as being at an end. */
const NEAR_BOTTOM = 40;
const NEAR_TOP = 600;

/**
 * @typedef {object} Props
 * @property {{current: Scroller | null}} handle is given this object, for its methods
 * @property {string} className
 * @property {string} label
 * @property {unknown} version changes when the rows do
 * @property {(atBottom: boolean) => void} onReach called when the reader reaches or leaves the bottom
 * @property {() => void} [onTop] called near the top
 * @property {unknown} [children]
 */

/** @extends {Component<Props>} */
export class Scroller extends Component {
  /** @param {Props} props */
  constructor(props) {
    super(props);
    props.handle.current = this;
    /** @type {{current: HTMLDivElement | null}} */
    this.box = createRef();
    /** @type {{current: HTMLDivElement | null}} */
    this.inner = createRef();
    this.stuck = true;
    this.resizes = new ResizeObserver(() => this.#settle());
  }

  get #element() {
    return /** @type {HTMLDivElement} */ (this.box.current);
  }

  /** Scrolls to the bottom and stays there. */
  toBottom() {
    this.#reach(true);
    this.#settle();
  }

  /** @override @returns {{id: string | null, distance: number} | null} the first row in view, and how far below the edge */
  getSnapshotBeforeUpdate() {
    if (this.stuck) return null;
    const box = this.#element;
    for (const row of box.querySelectorAll("[data-row]")) {
      const { offsetTop, offsetHeight } = /** @type {HTMLElement} */ (row);
      if (offsetTop + offsetHeight > box.scrollTop) {
        return { id: row.getAttribute("data-row"), distance: offsetTop - box.scrollTop };
      }
    }
    return null;
  }

  /** @override */
  componentDidMount() {
    this.resizes.observe(this.#element);
    this.resizes.observe(/** @type {Element} */ (this.inner.current));
    this.#settle();
    this.#callForMore();
  }

  /** @override @param {Props} _props @param {{}} _state @param {{id: string | null, distance: number} | null} anchor */
  componentDidUpdate(_props, _state, anchor) {
    if (!this.stuck && anchor?.id) {
      const row = this.#element.querySelector(`[data-row="${CSS.escape(anchor.id)}"]`);
      if (row) this.#element.scrollTop = /** @type {HTMLElement} */ (row).offsetTop - anchor.distance;
    }
    this.#settle();
    this.#callForMore();
  }

  /** @override */
  componentWillUnmount() {
    this.resizes.disconnect();
  }

  #settle() {
    if (this.stuck) this.#element.scrollTop = this.#element.scrollHeight;
  }

  #callForMore() {
    if (this.#element.scrollTop < NEAR_TOP) this.props.onTop?.();
  }

  /** @param {boolean} bottom */
  #reach(bottom) {
    if (bottom === this.stuck) return;
    this.stuck = bottom;
    this.props.onReach(bottom);
  }

  onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    this.#reach(scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM);
    this.#callForMore();
  };

  /** @override */
  render() {
    const { className, label, children } = this.props;
    return html`
      <div ref=${this.box} class=${className} onScroll=${this.onScroll} tabindex="0"
        role="log" aria-label=${label} aria-live="polite">
        <div ref=${this.inner} class="messages-inner">${children}</div>
      </div>
    `;
  }
}
