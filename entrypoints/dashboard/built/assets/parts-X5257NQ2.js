//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-3EPK4CX2.js";import"./chunk-UBDETW3J.js";export{a as Activity,b as Invitations,c as NewProject};
