//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-3XLCC3LY.js";import"./chunk-UU67LYE6.js";export{a as Activity,b as Invitations,c as NewProject};
