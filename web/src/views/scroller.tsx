// A list that grows at both ends and keeps the reader's position: a reader at the bottom stays at the bottom; elsewhere the
// first visible row stays in place, whatever is added, removed or resized above it.
import { Component, createRef } from "preact";
import type { ComponentChildren } from "preact";

/** Within this many pixels, the reader counts as being at an end. */
const NEAR_BOTTOM = 40;
const NEAR_TOP = 600;

export interface Props {
  /** Is given this object, for its methods. */
  handle: { current: Scroller | null };
  className: string;
  label: string;
  /** Changes when the rows do. */
  version: unknown;
  /** Called when the reader reaches or leaves the bottom. */
  onReach: (atBottom: boolean) => void;
  /** Called near the top. */
  onTop?: () => void;
  children?: ComponentChildren;
}

export class Scroller extends Component<Props> {
  private readonly box = createRef<HTMLDivElement>();
  private readonly inner = createRef<HTMLDivElement>();
  private stuck = true;
  private readonly resizes = new ResizeObserver(() => this.#settle());

  constructor(props: Props) {
    super(props);
    props.handle.current = this;
  }

  get #element() {
    return this.box.current as HTMLDivElement;
  }

  /** Scrolls to the bottom and stays there. */
  toBottom() {
    this.#reach(true);
    this.#settle();
  }

  /** @returns the first row in view, and how far below the edge */
  override getSnapshotBeforeUpdate(): { id: string | null; distance: number } | null {
    if (this.stuck) return null;
    const box = this.#element;
    for (const row of box.querySelectorAll("[data-row]")) {
      const { offsetTop, offsetHeight } = row as HTMLElement;
      if (offsetTop + offsetHeight > box.scrollTop) {
        return { id: row.getAttribute("data-row"), distance: offsetTop - box.scrollTop };
      }
    }
    return null;
  }

  override componentDidMount() {
    this.resizes.observe(this.#element);
    this.resizes.observe(this.inner.current as Element);
    this.#settle();
    this.#callForMore();
  }

  override componentDidUpdate(_props: Props, _state: object, anchor: { id: string | null; distance: number } | null) {
    if (!this.stuck && anchor?.id) {
      const row = this.#element.querySelector(`[data-row="${CSS.escape(anchor.id)}"]`);
      if (row) this.#element.scrollTop = (row as HTMLElement).offsetTop - anchor.distance;
    }
    this.#settle();
    this.#callForMore();
  }

  override componentWillUnmount() {
    this.resizes.disconnect();
  }

  #settle() {
    if (this.stuck) this.#element.scrollTop = this.#element.scrollHeight;
  }

  #callForMore() {
    if (this.#element.scrollTop < NEAR_TOP) this.props.onTop?.();
  }

  #reach(bottom: boolean) {
    if (bottom === this.stuck) return;
    this.stuck = bottom;
    this.props.onReach(bottom);
  }

  onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    this.#reach(scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM);
    this.#callForMore();
  };

  override render() {
    const { className, label, children } = this.props;
    return (
      <div
        ref={this.box}
        class={className}
        onScroll={this.onScroll}
        tabindex={0}
        role="log"
        aria-label={label}
        aria-live="polite"
      >
        <div ref={this.inner} class="messages-inner">
          {children}
        </div>
      </div>
    );
  }
}
